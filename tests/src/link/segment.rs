//! TCP segments in IPv4 packets, as an attacker on a link reads and writes them.

use super::{Attack, Sent};

/// The lengths of the headers without options.
const IP: usize = 20;
const TCP: usize = 20;

/// Flags of a TCP header.
pub const SYN: u8 = 0x02;
/// Reset the connection.
pub const RST: u8 = 0x04;
/// Deliver at once.
pub const PSH: u8 = 0x08;
/// The acknowledgement number counts.
pub const ACK: u8 = 0x10;

/// The option of Multipath TCP (RFC 8684), and its subtypes.
pub const MPTCP: u8 = 30;
/// MP_JOIN.
pub const JOIN: u8 = 1;
/// DSS.
pub const DSS: u8 = 2;
/// MP_PRIO.
pub const PRIO: u8 = 5;

const NOP: u8 = 1;
const TIMESTAMPS: u8 = 8;

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Addresses and ports.
    pub from: ([u8; 4], u16),
    /// Addresses and ports.
    pub to: ([u8; 4], u16),
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Flags.
    pub flags: u8,
    /// Window.
    pub window: u16,
    /// Options, padded to a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// Data.
    pub data: Vec<u8>,
}

impl Segment {
    /// Reads a packet; `None` if it is another.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let ip_header = usize::from(packet.first()? & 0xf) * 4;
        let is_tcp = packet.first()? >> 4 == 4 && packet.get(9) == Some(&6);
        let tcp = packet.get(ip_header..).filter(|_| is_tcp)?;
        let tcp_header = usize::from(tcp.get(12)? >> 4) * 4;
        let number16 = |at: usize| Some(u16::from_be_bytes(*tcp.get(at..)?.first_chunk()?));
        let number32 = |at: usize| Some(u32::from_be_bytes(*tcp.get(at..)?.first_chunk()?));
        Some(Self {
            from: (*packet.get(12..)?.first_chunk()?, number16(0)?),
            to: (*packet.get(16..)?.first_chunk()?, number16(2)?),
            sequence: number32(4)?,
            acknowledgement: number32(8)?,
            flags: *tcp.get(13)?,
            window: number16(14)?,
            options: tcp.get(TCP..tcp_header)?.to_vec(),
            data: tcp.get(tcp_header..)?.to_vec(),
        })
    }

    /// Writes a packet with valid checksums.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let tcp_header = TCP + self.options.len();
        let len = IP + tcp_header + self.data.len();
        let mut packet = vec![
            0x45,
            0,
            (len >> 8) as u8,
            len as u8,
            0,
            0,
            0x40,
            0,
            64,
            6,
            0,
            0,
        ];
        packet.extend(self.from.0);
        packet.extend(self.to.0);
        let sum = checksum(&packet, 0);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut tcp = Vec::with_capacity(len - IP);
        tcp.extend(self.from.1.to_be_bytes());
        tcp.extend(self.to.1.to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgement.to_be_bytes());
        tcp.extend([(tcp_header as u8 / 4) << 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.options);
        tcp.extend(&self.data);
        let pseudo = packet[12..20].chunks(2).map(word).sum::<u32>() + 6 + tcp.len() as u32;
        let sum = checksum(&tcp, pseudo);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        packet.extend(tcp);
        packet
    }

    /// The options as kind, offset and length.
    fn each_option(&self) -> Vec<(u8, usize, usize)> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(&kind) = self.options.get(at) {
            let len = match kind {
                0 => break,
                NOP => 1,
                _ => self.options.get(at + 1).map_or(0, |len| usize::from(*len)),
            };
            if len == 0 || at + len > self.options.len() {
                break;
            }
            found.push((kind, at, len));
            at += len;
        }
        found
    }

    /// The option of Multipath TCP with this subtype.
    #[must_use]
    pub fn mptcp(&self, subtype: u8) -> Option<&[u8]> {
        let options = self.each_option().into_iter();
        let mut bytes = options
            .filter(|(kind, ..)| *kind == MPTCP)
            .map(|(_, at, len)| &self.options[at..at + len]);
        bytes.find(|bytes| bytes.get(2).is_some_and(|byte| byte >> 4 == subtype))
    }

    /// Whether it has any option of Multipath TCP.
    #[must_use]
    pub fn is_mptcp(&self) -> bool {
        self.each_option().iter().any(|(kind, ..)| *kind == MPTCP)
    }

    /// Overwrites every option of Multipath TCP.
    pub fn strip_mptcp(&mut self) {
        for (kind, at, len) in self.each_option() {
            if kind == MPTCP {
                self.options[at..at + len].fill(NOP);
            }
        }
    }

    /// The sender's timestamp and the echoed one.
    #[must_use]
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        let (_, at, _) = *self
            .each_option()
            .iter()
            .find(|(kind, ..)| *kind == TIMESTAMPS)?;
        let number = |at: usize| Some(u32::from_be_bytes(*self.options.get(at..)?.first_chunk()?));
        Some((number(at + 2)?, number(at + 6)?))
    }

    /// The mapping of its data (DSS with an 8-byte data sequence number): data sequence number,
    /// relative subflow sequence number, and length.
    #[must_use]
    pub fn mapping(&self) -> Option<(u64, u32, u16)> {
        let dss = self.mptcp(DSS)?;
        let flags = *dss.get(3)?;
        let (has_ack, long_ack) = (flags & 1 != 0, flags & 2 != 0);
        let (has_mapping, long) = (flags & 4 != 0, flags & 8 != 0);
        let at = 4 + usize::from(has_ack) * if long_ack { 8 } else { 4 };
        if !has_mapping || !long {
            return None;
        }
        let number = u64::from_be_bytes(*dss.get(at..)?.first_chunk()?);
        let relative = u32::from_be_bytes(*dss.get(at + 8..)?.first_chunk()?);
        let len = u16::from_be_bytes(*dss.get(at + 12..)?.first_chunk()?);
        Some((number, relative, len))
    }
}

/// An attacker who changes the segments of a direction; `None` drops one.
pub fn change(mut change: impl FnMut(Segment) -> Option<Segment> + Send + 'static) -> Attack {
    Box::new(move |packet| match Segment::parse(&packet) {
        Some(segment) => match change(segment.clone()) {
            Some(changed) if changed == segment => vec![Sent::On(packet)],
            Some(changed) => vec![Sent::On(changed.packet())],
            None => Vec::new(),
        },
        None => vec![Sent::On(packet)],
    })
}

/// No attacker.
#[must_use]
pub fn pass() -> Attack {
    Box::new(|packet| vec![Sent::On(packet)])
}

/// The options of a forged segment: timestamps, and a mapping.
#[must_use]
pub fn forged_options(timestamps: (u32, u32), mapping: (u64, u32, u16)) -> Vec<u8> {
    let mut options = vec![NOP, NOP, TIMESTAMPS, 10];
    options.extend(timestamps.0.to_be_bytes());
    options.extend(timestamps.1.to_be_bytes());
    // DSS: a mapping with an 8-byte data sequence number, and no acknowledgement or checksum.
    options.extend([MPTCP, 18, DSS << 4, 0x0c]);
    options.extend(mapping.0.to_be_bytes());
    options.extend(mapping.1.to_be_bytes());
    options.extend(mapping.2.to_be_bytes());
    options.extend([NOP, NOP]);
    options
}

fn word(bytes: &[u8]) -> u32 {
    u32::from(bytes[0]) << 8 | u32::from(bytes.get(1).copied().unwrap_or(0))
}

fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start + bytes.chunks(2).map(word).sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_read_as_it_was_written() {
        let segment = Segment {
            from: ([192, 0, 2, 1], 443),
            to: ([198, 51, 100, 7], 50_000),
            sequence: 7,
            acknowledgement: 9,
            flags: ACK | PSH,
            window: 500,
            options: forged_options((1, 2), (0x0102_0304_0506_0708, 33, 5)),
            data: b"hello".to_vec(),
        };
        let packet = segment.packet();
        assert_eq!(
            checksum(&packet[..IP], 0),
            0,
            "a valid checksum sums up to zero"
        );
        let read = Segment::parse(&packet).expect("a segment");
        assert_eq!(read, segment);
        assert_eq!(read.timestamps(), Some((1, 2)));
        assert_eq!(read.mapping(), Some((0x0102_0304_0506_0708, 33, 5)));
        let mut stripped = read;
        stripped.strip_mptcp();
        assert!(!stripped.is_mptcp());
        assert_eq!(stripped.timestamps(), Some((1, 2)));
    }
}

//! The end of the client's handshake, as far as a relay without keys can find it.

/// The content type of a ChangeCipherSpec record, which TLS 1.3 sends for old middleboxes only
/// (RFC 8446, appendix D.4).
const CHANGE_CIPHER_SPEC: u8 = 20;
/// The header of a record: its type, the version, and the length of what follows.
const HEADER: usize = 5;

/// Finds the end of the first record after the client's last hello, ChangeCipherSpec records
/// aside.
///
/// That record carries the client's Finished, or what comes before it: a server of TLS 1.3 takes no
/// application data before the Finished (RFC 8446, section 4.4.4), and early data is refused. A
/// client with a certificate may send its Finished in a later record.
#[derive(Debug, Default)]
pub(super) struct FinishedRecord {
    header: Vec<u8>,
    /// Bytes of the record's body that are still to come.
    left: usize,
    over: bool,
}

impl FinishedRecord {
    /// The number of the client's next bytes that belong to it, and whether it ends with them.
    pub(super) fn part_of(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut part = 0;
        while part < bytes.len() && !self.over {
            let rest = &bytes[part..];
            if self.header.len() < HEADER {
                let more = rest.len().min(HEADER - self.header.len());
                self.header.extend_from_slice(&rest[..more]);
                part += more;
                if let [_, _, _, high, low] = self.header[..] {
                    self.left = usize::from(u16::from_be_bytes([high, low]));
                }
            } else {
                let more = rest.len().min(self.left);
                self.left -= more;
                part += more;
            }
            if self.header.len() == HEADER && self.left == 0 {
                self.over = self.header[0] != CHANGE_CIPHER_SPEC;
                self.header.clear();
            }
        }
        (part, self.over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CCS: [u8; 6] = [20, 3, 3, 0, 1, 1];
    const FINISHED: [u8; 8] = [23, 3, 3, 0, 3, 7, 7, 7];

    #[test]
    fn the_first_record_that_is_no_change_cipher_spec_ends_it() {
        for start in [&[][..], &CCS, &[CCS, CCS].concat()] {
            let flight = [start, &FINISHED].concat();
            let sent = [&flight[..], &FINISHED].concat();
            let whole = FinishedRecord::default().part_of(&sent);
            assert_eq!(whole, (flight.len(), true));
            for split in 0..sent.len() {
                let mut record = FinishedRecord::default();
                let (first, over) = record.part_of(&sent[..split]);
                assert_eq!(
                    (first, over),
                    (split.min(flight.len()), split >= flight.len())
                );
                let second = record.part_of(&sent[split..]);
                assert_eq!(second, (flight.len() - first, true), "split at {split}");
            }
        }
    }

    #[test]
    fn an_empty_record_ends_it_too() {
        let empty = [23, 3, 3, 0, 0, 23];
        assert_eq!(FinishedRecord::default().part_of(&empty), (HEADER, true));
    }
}

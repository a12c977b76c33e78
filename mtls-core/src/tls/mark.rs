//! The mark in a server's tickets, which names the full handshake that they descend from
//! (`docs/protocol.md`, section 12.3).

use rustls::crypto::SecureRandom;

use crate::error::Error;

/// Names a full handshake in the tickets that descend from it. The server draws it at random and
/// only its own tickets carry it, so no client can name the handshake of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark([u8; Mark::LEN]);

impl Mark {
    pub(crate) const LEN: usize = 16;
    /// Before the mark in the resumption data, which an application could have set as well.
    const TAG: &[u8; 4] = b"MTI1";

    pub(crate) fn random(random: &dyn SecureRandom) -> Result<Self, Error> {
        let mut mark = [0; Self::LEN];
        random.fill(&mut mark).map_err(rustls::Error::from)?;
        Ok(Self(mark))
    }

    pub(crate) fn to_resumption_data(self) -> Vec<u8> {
        [&Self::TAG[..], &self.0].concat()
    }

    pub(crate) fn from_resumption_data(data: &[u8]) -> Option<Self> {
        let mark = data.strip_prefix(Self::TAG)?;
        mark.try_into().ok().map(Self)
    }
}

#[cfg(test)]
impl Mark {
    pub(crate) fn from_bytes(mark: [u8; Self::LEN]) -> Self {
        Self(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_resumption_data_carries_no_mark() {
        let data = Mark([7; Mark::LEN]).to_resumption_data();
        assert_eq!(
            Mark::from_resumption_data(&data),
            Some(Mark([7; Mark::LEN]))
        );
        for other in [&b""[..], b"MTI1", &data[1..], &[&data[..], &[0]].concat()] {
            assert_eq!(Mark::from_resumption_data(other), None);
        }
    }
}

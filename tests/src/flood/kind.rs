//! The kinds of floods.

use clap::ValueEnum;

/// A kind of flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    SilentConnections,
    SilentSides,
    ImmediateCloses,
    HalfHandshakes,
    UnknownOpens,
    StrangersOpens,
    SlowReaders,
    ConnectionsOfOneSource,
    SidesOfOneSource,
    OpensOfOneSource,
}

/// The conduct of each connection of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Sends nothing, and stays.
    Stay,
    /// Greets as a side connection does, and stays.
    GreetAndStay,
    /// Closes at once.
    Close,
    /// Sends a ClientHello, and stays.
    SendHello,
    /// Sends Opens for handshakes that do not exist.
    OpenUnknown,
    /// Begins handshakes, and sends Opens for them from many addresses.
    OpenAsStranger,
    /// Completes TLS, requests a large file many times, and reads none of it.
    RequestWithoutReading,
}

impl Kind {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::SilentConnections => "connections that send nothing",
            Self::SilentSides => "side connections that send nothing",
            Self::ImmediateCloses => "connections that close immediately",
            Self::HalfHandshakes => "half handshakes",
            Self::UnknownOpens => "Opens for unknown handshakes",
            Self::StrangersOpens => "Opens of strangers for handshakes",
            Self::SlowReaders => "clients that never read",
            Self::ConnectionsOfOneSource => "silent connections of one address",
            Self::SidesOfOneSource => "silent side connections of one address",
            Self::OpensOfOneSource => "Opens for unknown handshakes of one address",
        }
    }

    /// The number of its connections or Opens at scale 1.
    pub(super) fn amount(self) -> u64 {
        match self {
            Self::UnknownOpens | Self::StrangersOpens | Self::OpensOfOneSource => 1_000_000,
            Self::SlowReaders => 3_000,
            _ => 100_000,
        }
    }

    pub(super) fn act(self) -> Act {
        match self {
            Self::SilentConnections | Self::ConnectionsOfOneSource => Act::Stay,
            Self::SilentSides | Self::SidesOfOneSource => Act::GreetAndStay,
            Self::ImmediateCloses => Act::Close,
            Self::HalfHandshakes => Act::SendHello,
            Self::UnknownOpens | Self::OpensOfOneSource => Act::OpenUnknown,
            Self::StrangersOpens => Act::OpenAsStranger,
            Self::SlowReaders => Act::RequestWithoutReading,
        }
    }

    /// Whether all of it comes from one address.
    pub(super) fn has_one_source(self) -> bool {
        matches!(
            self,
            Self::ConnectionsOfOneSource | Self::SidesOfOneSource | Self::OpensOfOneSource
        )
    }

    /// The name on the command line.
    pub(super) fn argument(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

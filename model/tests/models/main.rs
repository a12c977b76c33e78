//! Models, checked exhaustively within bounds.

mod fleet;
mod protocol;
mod registry;

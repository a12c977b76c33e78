//! Models, checked exhaustively within bounds.

mod fleet_model;
mod model;

//! Being written.
pub mod application;
pub mod view;
pub use application::{Application, Context, QueryError};
pub use view::View;

//! YAML files that people write: reading, parsing with the place of every value, and findings that say
//! what is wrong where. The only module that names serde-saphyr.

mod finding;
mod located;
mod parse;
mod read;

pub use finding::{Finding, Findings, Place};
pub use located::Located;
pub use parse::{Structure, choose, parse};
pub use read::{ReadError, read};

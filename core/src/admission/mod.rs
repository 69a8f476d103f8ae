//! Who may: tokens and where they stand in a request, where a request comes from, and how much one address may do.
//!
//! Pure questions and small counters; sessions, REST and homes ask them and answer with the status or close code. Rules
//! guarded: tokens are compared in constant time and stored as hashes, nothing here can show one, and every table has a
//! limit.

mod credentials;
mod headcount;
mod rate;
mod source;

pub use credentials::{CANDIDATES_MAX, Credentials, TokenHash};
pub use headcount::Headcount;
pub use rate::{AddressCounts, CreateRates, MessageRate};
pub use source::{address_key, client_address, is_foreign};

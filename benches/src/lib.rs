//! Micro-benches of the core as counts, and the socket bench.

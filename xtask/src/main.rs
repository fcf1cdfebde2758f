//! Entry point of the project's own verbs.
fn main() {}

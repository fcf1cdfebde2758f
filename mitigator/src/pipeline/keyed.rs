//! Hash tables of what strangers choose, as addresses: which keys fall together is decided by a number that each table draws.
//!
//! With a hash that everybody can work out, a capture or a flood of made up addresses could put all of them into one
//! place, and each look-up would go through all. The price is that the order of a table is another in each run, so that
//! whoever goes through one may not let its order matter.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

/// A table by keys that strangers choose.
pub(crate) type KeyedMap<K, V> = HashMap<K, V, RandomState>;

/// Keys that strangers choose, each once.
pub(crate) type KeyedSet<K> = HashSet<K, RandomState>;

//! What suites share: packets, traffic, namespaces.

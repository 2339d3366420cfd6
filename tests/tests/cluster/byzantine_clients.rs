//! Byzantine clients against real replicas.

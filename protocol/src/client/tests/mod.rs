//! The endpoint as a whole, against replicas played by the test.

mod ordered;

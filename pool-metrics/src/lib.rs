//! What the pools do, as metrics.

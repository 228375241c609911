//! A generic asynchronous resource pool.

//! Pairs of CloudNativePG Clusters: two API servers that know nothing of each other, an operator's
//! stand-in over real PostgreSQL in each, and the real agents, core and witness.

mod field;
mod moves;

//! PostgreSQL and its guard, modelled where it matters to safety.

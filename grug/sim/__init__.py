"""The simulated house: public, seeded, and what every test stands on."""

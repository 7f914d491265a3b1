"""The simulated house: public, seeded, and what every test stands on.

Physics (pure, no clock): ``house.House`` with its sky, household, batteries, inverters, chargers.
Devices: ``units.SimUnit`` and ``devices`` fill Modbus registers from the house. Three ways to them:

- ``wiring.SimulatedHouse(config, seed)`` builds all of it from the app's own configuration, with
  ``opener(line_name)`` for in-memory lines that have a real wire's timing (``line``);
- ``actors.SimActors(simulated_house, feed)`` publishes what pollers, bus owners and fake meters
  would, without any bytes;
- ``process.run(config, directory, seed=...)`` serves it behind pseudo-terminals in real time.

``seeded.run_seeded`` runs a main task in virtual time with a seeded order of tasks. ``faults`` has
what can go wrong: ``simulated_house.apply("grid:silent@60+20")``.
"""

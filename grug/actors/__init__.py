"""One actor per file: receive, call pure logic, send. Actors never import each other."""

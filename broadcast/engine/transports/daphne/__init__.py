"""Everything that knows the insides of daphne, Twisted and autobahn."""

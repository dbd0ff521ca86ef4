"""The Autobahn test suite, against both ends: ``make autobahn AUTOBAHN=DIR``."""

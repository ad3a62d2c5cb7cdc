"""The module behind the lessons: three rooms, one for each question the course asks.

`lib.versioning` holds records whose shape changes, `lib.scaling` work spread over workers, `lib.deployment` services
replaced under traffic. Nothing is imported here, so that `import lib` costs nothing.
"""

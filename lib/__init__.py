"""The module behind the lessons: three rooms, one for each question the course asks, and the stage under them.

`lib.versioning` holds records whose shape changes, `lib.scaling` work spread over workers, `lib.deployment` services
replaced under traffic; `lib.stage` starts and stops what they play on. Nothing is imported here, so that `import lib` costs nothing.
"""

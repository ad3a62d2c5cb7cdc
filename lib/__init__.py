"""The package behind the lessons: three rooms, one for each question of the course, and the stage below them.

`lib.versioning` is about records whose schema changes, `lib.scaling` about work distributed over workers, `lib.deployment`
about services replaced under traffic. `lib.stage` starts and stops the servers and processes that they use. Nothing is imported
here, so `import lib` costs nothing.
"""

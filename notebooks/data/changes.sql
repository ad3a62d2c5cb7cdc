-- add a column
ALTER TABLE users ADD COLUMN phone VARCHAR(50);
-- add columns, constant defaults
ALTER TABLE users ADD COLUMN country TEXT NOT NULL DEFAULT 'ES', ADD COLUMN visits INTEGER NOT NULL DEFAULT 0;
-- add a column, computed default
ALTER TABLE users ADD COLUMN token UUID DEFAULT gen_random_uuid();
-- NOT NULL
ALTER TABLE users ALTER COLUMN name SET NOT NULL;
-- CHECK, NOT VALID
ALTER TABLE users ADD CONSTRAINT dated CHECK (created_at IS NOT NULL) NOT VALID;
-- VALIDATE the CHECK
ALTER TABLE users VALIDATE CONSTRAINT dated;
-- NOT NULL, proved by the CHECK
ALTER TABLE users ALTER COLUMN created_at SET NOT NULL;
-- drop the CHECK
ALTER TABLE users DROP CONSTRAINT dated;
-- timestamp to timestamptz, in UTC
SET LOCAL TimeZone = 'UTC'; ALTER TABLE users ALTER COLUMN created_at TYPE TIMESTAMPTZ;
-- longer VARCHAR
ALTER TABLE users ALTER COLUMN phone TYPE VARCHAR(100);
-- integer to bigint
ALTER TABLE users ALTER COLUMN visits TYPE BIGINT;
-- index
CREATE INDEX dates ON users (created_at);
-- index CONCURRENTLY
CREATE UNIQUE INDEX CONCURRENTLY tokens ON users (token);
-- UNIQUE
ALTER TABLE users ADD CONSTRAINT one_token UNIQUE (token);
-- UNIQUE, by that index
ALTER TABLE users ADD CONSTRAINT token_once UNIQUE USING INDEX tokens;
-- foreign key
ALTER TABLE users ADD CONSTRAINT known FOREIGN KEY (country) REFERENCES countries;
-- foreign key, NOT VALID
ALTER TABLE users ADD CONSTRAINT lives FOREIGN KEY (country) REFERENCES countries NOT VALID;
-- VALIDATE the foreign key
ALTER TABLE users VALIDATE CONSTRAINT lives;
-- rename a column
ALTER TABLE users RENAME COLUMN phone TO telephone;
-- drop a column
ALTER TABLE users DROP COLUMN telephone;
-- attach as a partition
CREATE TABLE people (LIKE users) PARTITION BY RANGE (id); ALTER TABLE people ATTACH PARTITION users FOR VALUES FROM ('') TO ('~');
-- longer VARCHAR that programs read
LOCK TABLE users; ALTER TABLE people ALTER COLUMN name TYPE VARCHAR(500);

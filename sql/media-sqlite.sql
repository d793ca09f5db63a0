-- Announcements and music for rtpengine, SQLite. Safe to run again.
-- The daemon only reads (option sqlite-db). Same table and columns as media-mysql.sql.

CREATE TABLE IF NOT EXISTS media (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name VARCHAR(255) NOT NULL DEFAULT '',
  data BLOB,
  updated TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX IF NOT EXISTS media_name ON media (name);

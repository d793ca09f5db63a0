-- Recordings, SQLite. Created by rtpengine-recording when the file is new; safe to run again.
-- Same tables and columns as mysql.sql.

CREATE TABLE IF NOT EXISTS recording_calls (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  call_id VARCHAR(250) NOT NULL,
  start_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  end_time DATETIME,
  start_timestamp DECIMAL(13,3),
  end_timestamp DECIMAL(13,3),
  status TEXT NOT NULL DEFAULT 'recording' CHECK (status IN ('recording', 'completed', 'confirmed'))
);
CREATE INDEX IF NOT EXISTS recording_calls_call_id ON recording_calls (call_id);

CREATE TABLE IF NOT EXISTS recording_streams (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  call INTEGER NOT NULL REFERENCES recording_calls (id) ON DELETE CASCADE ON UPDATE CASCADE,
  local_filename VARCHAR(250) NOT NULL,
  full_filename VARCHAR(250) NOT NULL,
  file_format VARCHAR(10) NOT NULL,
  output_type TEXT NOT NULL CHECK (output_type IN ('mixed', 'single')),
  stream_id INTEGER NOT NULL,
  start_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  end_time DATETIME,
  sample_rate INTEGER NOT NULL DEFAULT 0,
  channels INTEGER NOT NULL DEFAULT 0,
  ssrc INTEGER NOT NULL,
  start_timestamp DECIMAL(13,3),
  end_timestamp DECIMAL(13,3),
  tag_label VARCHAR(255) NOT NULL DEFAULT '',
  stream BLOB,
  transcript_status TEXT NOT NULL DEFAULT 'none' CHECK (transcript_status IN ('none', 'pending', 'done')),
  transcript TEXT,
  storage_file TINYINT NOT NULL DEFAULT 1,
  storage_db TINYINT NOT NULL DEFAULT 0,
  storage_s3 TINYINT NOT NULL DEFAULT 0,
  storage_gcs TINYINT NOT NULL DEFAULT 0,
  s3_uri VARCHAR(255) NOT NULL DEFAULT '',
  gcs_uri VARCHAR(255) NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS recording_streams_call ON recording_streams (call);
CREATE INDEX IF NOT EXISTS recording_streams_transcript ON recording_streams (transcript_status, call);

CREATE TABLE IF NOT EXISTS recording_metakeys (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  call INTEGER NOT NULL REFERENCES recording_calls (id) ON DELETE CASCADE ON UPDATE CASCADE,
  "key" CHAR(255) NOT NULL,
  value CHAR(255) NOT NULL
);
CREATE INDEX IF NOT EXISTS recording_metakeys_value_key ON recording_metakeys (value, "key");
CREATE INDEX IF NOT EXISTS recording_metakeys_call ON recording_metakeys (call);

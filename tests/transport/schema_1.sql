CREATE TABLE IF NOT EXISTS readings (
  series LowCardinality(String) CODEC(ZSTD(3)),
  ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(3))
    SETTINGS (min_compress_block_size = 4194304, max_compress_block_size = 4194304),
  e Int8 CODEC(ZSTD(3)) COMMENT 'decimal exponent; -1: m holds the bits of a Float64',
  m Int64 CODEC(Delta, T64('bit'), ZSTD(3)),
  seq UInt64 CODEC(Delta, ZSTD(3)) COMMENT 'block of the log',
  epoch UInt32 CODEC(ZSTD(3)) COMMENT 'start of the log''s writer',
  value Float64 ALIAS if(e < 0, reinterpretAsFloat64(m), m / exp10(e))
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(ts) ORDER BY (series, ts)
SETTINGS non_replicated_deduplication_window = 10000;
CREATE TABLE IF NOT EXISTS events (
  source LowCardinality(String) CODEC(ZSTD(3)),
  ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(3)),
  kind LowCardinality(String) CODEC(ZSTD(3)),
  text String CODEC(ZSTD(3)),
  seq UInt64 CODEC(Delta, ZSTD(3)),
  epoch UInt32 CODEC(ZSTD(3))
) ENGINE = MergeTree PARTITION BY toYYYYMM(ts) ORDER BY (ts, source)
SETTINGS non_replicated_deduplication_window = 10000;
CREATE TABLE IF NOT EXISTS ships (
  log String, epoch UInt32, first UInt64, last UInt64, crc UInt32
) ENGINE = ReplacingMergeTree ORDER BY (log, epoch, last, first);
CREATE TABLE IF NOT EXISTS agg_1m (
  series LowCardinality(String) CODEC(ZSTD(3)),
  t DateTime('UTC') CODEC(DoubleDelta, ZSTD(3)),
  n SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(3)),
  s SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(3)),
  mn SimpleAggregateFunction(min, Float64) CODEC(ZSTD(3)),
  mx SimpleAggregateFunction(max, Float64) CODEC(ZSTD(3))
) ENGINE = AggregatingMergeTree PARTITION BY toYYYYMM(t) ORDER BY (series, t)
SETTINGS non_replicated_deduplication_window = 10000;
CREATE MATERIALIZED VIEW IF NOT EXISTS agg_1m_view TO agg_1m AS
SELECT series, toStartOfInterval(ts, INTERVAL 1 MINUTE) AS t,
  count() AS n, sum(value) AS s, min(value) AS mn, max(value) AS mx
FROM readings WHERE NOT isNaN(value) GROUP BY series, t;
CREATE TABLE IF NOT EXISTS agg_15m (
  series LowCardinality(String) CODEC(ZSTD(3)),
  t DateTime('UTC') CODEC(DoubleDelta, ZSTD(3)),
  n SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(3)),
  s SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(3)),
  mn SimpleAggregateFunction(min, Float64) CODEC(ZSTD(3)),
  mx SimpleAggregateFunction(max, Float64) CODEC(ZSTD(3))
) ENGINE = AggregatingMergeTree PARTITION BY toYYYYMM(t) ORDER BY (series, t)
SETTINGS non_replicated_deduplication_window = 10000;
CREATE MATERIALIZED VIEW IF NOT EXISTS agg_15m_view TO agg_15m AS
SELECT series, toStartOfInterval(agg_1m.t, INTERVAL 15 MINUTE) AS t,
  sum(agg_1m.n) AS n, sum(agg_1m.s) AS s, min(agg_1m.mn) AS mn, max(agg_1m.mx) AS mx
FROM agg_1m GROUP BY series, t;
CREATE TABLE IF NOT EXISTS agg_1h (
  series LowCardinality(String) CODEC(ZSTD(3)),
  t DateTime('UTC') CODEC(DoubleDelta, ZSTD(3)),
  n SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(3)),
  s SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(3)),
  mn SimpleAggregateFunction(min, Float64) CODEC(ZSTD(3)),
  mx SimpleAggregateFunction(max, Float64) CODEC(ZSTD(3))
) ENGINE = AggregatingMergeTree PARTITION BY toYYYYMM(t) ORDER BY (series, t)
SETTINGS non_replicated_deduplication_window = 10000;
CREATE MATERIALIZED VIEW IF NOT EXISTS agg_1h_view TO agg_1h AS
SELECT series, toStartOfInterval(agg_15m.t, INTERVAL 1 HOUR) AS t,
  sum(agg_15m.n) AS n, sum(agg_15m.s) AS s, min(agg_15m.mn) AS mn, max(agg_15m.mx) AS mx
FROM agg_15m GROUP BY series, t;

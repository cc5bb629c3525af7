-- Is a record missing? Numbers are gapless in each writer's boot: a row here names a place where one is not there.
SELECT writer_id, boot, number_before + 1 AS first_missing, number - 1 AS last_missing
FROM (
  SELECT writer.id AS writer_id, writer.boot AS boot, writer.sequence AS number,
         lag(writer.sequence) OVER (PARTITION BY writer.id, writer.boot ORDER BY writer.sequence) AS number_before
  FROM calls
  WHERE day BETWEEN '2026/11/01' AND '2026/11/30'
)
WHERE number > number_before + 1
ORDER BY writer_id, boot, first_missing

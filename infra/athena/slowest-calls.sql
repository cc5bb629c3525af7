-- The slowest calls, and whether waiting or writing took the time.
SELECT latencyms, timetofirstchunkms, source, "user", model.served AS model, usage.outputtokens AS output_tokens, outcome, requestid
FROM calls
WHERE day BETWEEN '2026/11/01' AND '2026/11/30'
ORDER BY latencyms DESC
LIMIT 100

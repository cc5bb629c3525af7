-- What did not go well, by reason: refusals of the proxy, errors of the model server, callers who left.
SELECT outcome, statuscode, error.type AS reason, source, count(*) AS calls, min(startedat) AS first_time, max(startedat) AS last_time
FROM calls
WHERE day BETWEEN '2026/11/01' AND '2026/11/30'
  AND (outcome <> 'complete' OR statuscode >= 400)
GROUP BY outcome, statuscode, error.type, source
ORDER BY calls DESC

-- What did one user ask, and what was answered? (the newest first)
SELECT startedat, source, requesttype, model.served AS model, statuscode, latencyms, promptpreview, responsepreview, requestid
FROM calls
WHERE day BETWEEN '2026/11/01' AND '2026/11/30'
  AND "user" = 'someone@example.com'
ORDER BY startedat DESC
LIMIT 200

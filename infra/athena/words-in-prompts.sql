-- Who mentioned this? Searches the whole bodies, not the previews.
SELECT startedat, source, "user", requestid, promptpreview
FROM calls
WHERE day BETWEEN '2026/11/01' AND '2026/11/30'
  AND (lower(request.bodytext) LIKE '%invoice%' OR lower(response.bodytext) LIKE '%invoice%')
ORDER BY startedat DESC
LIMIT 200

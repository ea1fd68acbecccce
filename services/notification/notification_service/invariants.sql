-- invariant: nothing_is_sent_more_than_twice
-- In one round (an admin's retry begins another), a message is handed over where it may have been taken twice at most.
SELECT notification_id, round, count(*) AS hand_overs
FROM attempts
WHERE outcome IS NULL OR outcome IN ('accepted', 'unknown')
GROUP BY notification_id, round
HAVING count(*) > 2;

-- invariant: what_was_accepted_is_not_pending
-- An accepted message is never sent again: its notification is over in the same commit.
SELECT n.id, n.status, a.number
FROM notifications n
JOIN attempts a ON a.notification_id = n.id AND a.round = n.round
WHERE n.status = 'pending' AND a.outcome = 'accepted';

-- invariant: what_is_sent_was_accepted
-- A notification is called sent only if a carrier took it.
SELECT n.id, n.status
FROM notifications n
WHERE n.status = 'sent'
  AND NOT EXISTS (SELECT FROM attempts a WHERE a.notification_id = n.id AND a.outcome = 'accepted');

-- invariant: erased_accounts_keep_nothing
-- Of an erased account no fact and no preference is kept, and nothing is still to be sent to it.
SELECT e.user_id, n.id, n.status
FROM erased_accounts e
JOIN notifications n ON n.user_id = e.user_id
WHERE n.status = 'pending' OR n.facts <> '{}'::jsonb
UNION ALL
SELECT e.user_id, NULL, p.kind
FROM erased_accounts e
JOIN preferences p ON p.user_id = e.user_id;

-- invariant: no_secret_is_stored
-- A one-time token lives in its mail alone.
SELECT id, template
FROM notifications
WHERE facts ?| ARRAY['token', 'password', 'email', 'phone'];

-- invariant: nothing_is_sent_more_than_twice
-- In one round (a retry by an admin begins another), at most two attempts may have been accepted by the provider.
SELECT notification_id, round, count(*) AS hand_overs
FROM attempts
WHERE outcome IS NULL OR outcome IN ('accepted', 'unknown')
GROUP BY notification_id, round
HAVING count(*) > 2;

-- invariant: what_was_accepted_is_not_pending
-- An accepted message is never sent again: its notification leaves the state `pending` in the same commit.
SELECT n.id, n.status, a.number
FROM notifications n
JOIN attempts a ON a.notification_id = n.id AND a.round = n.round
WHERE n.status = 'pending' AND a.outcome = 'accepted';

-- invariant: what_is_sent_was_accepted
-- A notification is `sent` only if a provider accepted its message.
SELECT n.id, n.status
FROM notifications n
WHERE n.status = 'sent'
  AND NOT EXISTS (SELECT FROM attempts a WHERE a.notification_id = n.id AND a.outcome = 'accepted');

-- invariant: erased_accounts_keep_nothing
-- An erased account has no facts, no preferences and no pending notifications.
SELECT e.user_id, n.id, n.status
FROM erased_accounts e
JOIN notifications n ON n.user_id = e.user_id
WHERE n.status = 'pending' OR n.facts <> '{}'::jsonb
UNION ALL
SELECT e.user_id, NULL, p.kind
FROM erased_accounts e
JOIN preferences p ON p.user_id = e.user_id;

-- invariant: no_secret_is_stored
-- One-time tokens and addresses are never stored: a token is only in its mail.
SELECT id, template
FROM notifications
WHERE facts ?| ARRAY['token', 'password', 'email', 'phone'];

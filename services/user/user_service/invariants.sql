-- The invariants of users. Each query returns the rows that break one.

-- invariant: a_shop_keeps_an_admin
-- A shop which has, or once had, an admin has an active one. Reads through users_admins.
SELECT count(*) AS admins_once
FROM users
WHERE role = 'admin' OR was_admin
HAVING count(*) > 0 AND NOT bool_or(role = 'admin' AND is_active);

-- invariant: inactive_users_have_no_session
-- Deactivation and erasure end all sessions, and none is opened afterwards. Reads through users_inactive.
SELECT users.id AS user_id, sessions.id AS session_id
FROM users
JOIN sessions ON sessions.user_id = users.id
WHERE NOT users.is_active AND sessions.expires_at > now();

-- invariant: one_mail_request_is_open_for_each_purpose
-- A newer request replaces the one before.
SELECT user_id, purpose, count(*) AS open
FROM mail_requests
WHERE used_at IS NULL AND replaced_at IS NULL
GROUP BY user_id, purpose
HAVING count(*) > 1;

-- invariant: inactive_users_have_no_mail_request
-- No mail token may set the password or the address of a deactivated or erased account. Reads through users_inactive.
SELECT users.id AS user_id, mail_requests.id AS request_id
FROM users
JOIN mail_requests ON mail_requests.user_id = users.id
WHERE NOT users.is_active AND mail_requests.used_at IS NULL AND mail_requests.replaced_at IS NULL;

-- invariant: an_address_belongs_to_one_account
-- Addresses are compared without case. Reads through users_by_email.
SELECT min(id) AS one_id, max(id) AS another_id
FROM users
GROUP BY lower(email)
HAVING count(*) > 1;

-- invariant: nothing_is_left_of_an_erased_user
-- Only the id remains, since other services refer to it.
SELECT users.id AS user_id
FROM users
WHERE erased_at IS NOT NULL
  AND (is_active OR role = 'admin' OR email <> 'erased:' || id OR display_name IS NOT NULL OR phone IS NOT NULL
       OR EXISTS (SELECT FROM mail_requests WHERE mail_requests.user_id = users.id)
       OR EXISTS (SELECT FROM sessions WHERE sessions.user_id = users.id));

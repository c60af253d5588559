"""Accounts, wrong passwords, refresh tokens, signing keys, and the events about accounts."""

from __future__ import annotations

from alembic import op

from portico.events import schema

revision = "0001"
down_revision = None

_CREDENTIALS = """
CREATE TABLE auth.credentials (
    user_id        text NOT NULL,
    email          text NOT NULL,
    password_hash  text NOT NULL,
    roles          text[] NOT NULL,
    request_id     text,
    request_digest bytea,
    created_at     timestamptz NOT NULL,
    CONSTRAINT credentials_pkey PRIMARY KEY (user_id),
    CONSTRAINT credentials_email_key UNIQUE (email),
    CONSTRAINT credentials_request_id_key UNIQUE (request_id),
    CONSTRAINT credentials_email_canonical CHECK (email = lower(email)),
    CONSTRAINT credentials_hash_slow CHECK (password_hash LIKE '$argon2id$%'),
    CONSTRAINT credentials_roles_known CHECK (
        cardinality(roles) > 0 AND roles <@ ARRAY['customer', 'admin', 'business']),
    CONSTRAINT credentials_request_whole CHECK ((request_id IS NULL) = (request_digest IS NULL))
)
"""

# By digest: many of these addresses belong to nobody who has an account.
_LOGIN_FAILURES = """
CREATE TABLE auth.login_failures (
    email_digest bytea NOT NULL,
    failures     integer NOT NULL,
    until        timestamptz NOT NULL,
    CONSTRAINT login_failures_pkey PRIMARY KEY (email_digest),
    CONSTRAINT login_failures_positive CHECK (failures > 0)
)
"""
_LOGIN_FAILURES_UNTIL = "CREATE INDEX login_failures_until ON auth.login_failures (until)"

_FAMILIES = """
CREATE TABLE auth.families (
    family_id  text NOT NULL,
    user_id    text NOT NULL,
    opened_at  timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CONSTRAINT families_pkey PRIMARY KEY (family_id),
    CONSTRAINT families_user_id_fkey FOREIGN KEY (user_id)
        REFERENCES auth.credentials (user_id) ON DELETE CASCADE
)
"""
_FAMILIES_OF_USER = "CREATE INDEX families_user_id ON auth.families (user_id)"
_FAMILIES_EXPIRES = "CREATE INDEX families_expires_at ON auth.families (expires_at)"

_REFRESH_TOKENS = """
CREATE TABLE auth.refresh_tokens (
    token_digest bytea NOT NULL,
    family_id    text NOT NULL,
    issued_at    timestamptz NOT NULL,
    spent_at     timestamptz,
    CONSTRAINT refresh_tokens_pkey PRIMARY KEY (token_digest),
    CONSTRAINT refresh_tokens_digest_sha256 CHECK (octet_length(token_digest) = 32),
    CONSTRAINT refresh_tokens_family_id_fkey FOREIGN KEY (family_id)
        REFERENCES auth.families (family_id) ON DELETE CASCADE
)
"""
_TOKENS_OF_FAMILY = "CREATE INDEX refresh_tokens_family_id ON auth.refresh_tokens (family_id)"
_ONE_UNSPENT = """
CREATE UNIQUE INDEX refresh_tokens_one_unspent ON auth.refresh_tokens (family_id)
WHERE spent_at IS NULL
"""

_SIGNING_KEYS = """
CREATE TABLE auth.signing_keys (
    key_id      text NOT NULL,
    private_key bytea NOT NULL,
    public_key  bytea NOT NULL,
    created_at  timestamptz NOT NULL,
    retired_at  timestamptz,
    CONSTRAINT signing_keys_pkey PRIMARY KEY (key_id),
    CONSTRAINT signing_keys_ed25519 CHECK (
        octet_length(private_key) = 32 AND octet_length(public_key) = 32)
)
"""
_ONE_ACTIVE = """
CREATE UNIQUE INDEX signing_keys_one_active ON auth.signing_keys ((true)) WHERE retired_at IS NULL
"""


def upgrade() -> None:
    for statement in (
        _CREDENTIALS,
        _LOGIN_FAILURES,
        _LOGIN_FAILURES_UNTIL,
        _FAMILIES,
        _FAMILIES_OF_USER,
        _FAMILIES_EXPIRES,
        _REFRESH_TOKENS,
        _TOKENS_OF_FAMILY,
        _ONE_UNSPENT,
        _SIGNING_KEYS,
        _ONE_ACTIVE,
    ):
        op.execute(statement)
    schema.create_v1(op, "auth")

"""What of an address may be shown: secrets are known by what a parameter ends up being called, and by their shape.

Payers sign their links (CloudFront, Azure SAS, S3, GCS, Akamai), and escape them once or twice on the way into an
index. So a name is judged after every unescaping that somebody may still do, and a value that nobody can know
to be harmless is shown as a hash, which still tells two files apart. `urls` takes addresses apart.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from unicodedata import category, normalize
from urllib.parse import quote, unquote

NAME_PARAMETERS = ("filename", "file", "name")  # the name of the file, which is public
_ROUNDS = 8  # of unescaping; indexes escape twice at most
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_PARAMETER = re.compile(r"(?:\A|[?&#;])([^?&#;=]*)=")
_SEPARATOR = re.compile(r"[?&#;](?=[^?&#;=]*=)")
_LOGIN = re.compile(r"(\A|://)[^/@]*@(?=[^/@]*/)")
_NO_LETTERS = re.compile(r"[^a-z0-9]")

# Names without their punctuation. Signatures of CloudFront, AWS, Google, Azure and Akamai; sessions, keys, passwords.
_SECRET = re.compile(
    r"(?:expires|policy|keypairid|sig|sign|googleaccessid|hdne[a-z]|hdnt[a-z]|rlkey|tempauth|verify|nonce|otp"
    r"|sas|sid|saml[a-z]*|cred|creds|pw|pwd|pass|hmac|jwt|(?:x?amz|x?goog|xms).*|auth(?!or).*"
    r"|pin|psw|login|.*(?:token|secret|signature)(?:id|key|[0-9]+)"
    r"|.*(?:token|secret|signature|credentials?|password|passwd|passphrase|passcode|session|sessid|sessionid|ticket"
    r"|cookie|signingkey|apikey|accesskey|accesskeyid|subscriptionkey|sharedkey|privatekey|resourcekey|bearer|oauth|authorization))\Z"
)
# Of them, what a link gets anew whenever it is signed, and so no name of a file.
_OF_SIGNATURE = re.compile(
    r"(?:expires|policy|keypairid|sig|sign|hmac|nonce|otp|jwt|verify|tempauth|hdne[a-z]|hdnt[a-z]|saml[a-z]*"
    r"|(?:x?amz|x?goog|xms|googleaccess|awsaccess).*|.*signature.*|.*credentials?)\Z"
)
# Azure's, which are ordinary words (`st=TX`, `skip=100`) unless a `sig` goes with them.
_SAS = re.compile(r"(?:se|sp|sv|sr|st|spr|sip|ss|srt|skoid|sktid|skt|ske|sks|skv)\Z")
# May be a secret, may be all that tells two files apart (`code=` of an Azure function, `hash=` of a file).
_DOUBTFUL = re.compile(r"(?:key|code|hash|md5|sha1|sha256|checksum)\Z")
_MASKED = re.compile(r"sha256-[0-9a-f]{16}\Z")
_FILE = re.compile(r"(?i)[^?&#=]*\.(?:json|jsonl|ndjson|csv|xml|txt|zip|7z|gz|gzip|bz2|xz|zst|tar|tgz|html?)\Z")
_DATE = re.compile(r"20\d\d(?:-?(?:0[1-9]|1[0-2])(?:-?(?:0[1-9]|[12]\d|3[01]))?)?\Z")
_MAX_PLAIN = 200  # characters
_MAX_NAME = 40  # the same
# Numbers, words, camelCase, and what is too short to be a secret.
_PLAIN_WORD = re.compile(
    r"(?:[0-9]{1,20}|[A-Z]{1,24}|[A-Za-z0-9]{1,4}|[a-z]{0,24}(?:[A-Z]{1,4}[a-z]{2,16}){0,6}(?:[A-Z]{1,4}|[A-Z][a-z])?)\Z"
)


def unescaped(text: str) -> str:
    """The text without HTML's escapes, however often it was escaped: `&amp;amp;` is `&`.

    Only what ends in a semicolon counts: `&copy=1` is a parameter.
    """
    for _ in range(_ROUNDS):
        if "&" not in text or not _ENTITY.search(text):
            break
        text = _ENTITY.sub(lambda match: html.unescape(match.group()), text)
    return text


def plain(text: str) -> str:
    """What a text may end up as: without HTML's and percent escapes, full-width and invisible characters."""
    for _ in range(_ROUNDS):
        if text.isascii() and text.isprintable() and "%" not in text and "&" not in text:
            break
        before, text = text, unquote(unescaped(text))
        if not text.isascii() or not text.isprintable():
            text = "".join(char for char in normalize("NFKC", text) if category(char) not in ("Cf", "Cc"))
        if text == before:
            break
    return text


def is_secret(name: str) -> bool:
    """Whether a parameter of that name, as it ends up being called, holds a signature, a key or a password."""
    return bool(_SECRET.match(_letters(name)))


def has_secrets(text: str) -> bool:
    """Whether any parameter in a text, escaped or not, is a secret."""
    return any(map(is_secret, _PARAMETER.findall(plain(text))))


def is_plain(text: str) -> bool:
    """Whether a text has the shape of words, numbers or a file's name, and so not the one of a secret."""
    if len(text) > _MAX_PLAIN:
        return False
    return bool(_FILE.match(text)) or all(map(_is_plain_word, re.split(r"[\W_]+", text)))


def _is_plain_word(word: str) -> bool:
    return not word or bool(_PLAIN_WORD.match(word)) or (not word.isascii() and word.isalpha())


@lru_cache(1 << 12)  # the links of a payer have the same few parameters
def _letters(name: str) -> str:
    return _NO_LETTERS.sub("", name.lower())


def masked(text: str) -> str:
    """What stands for a text that may not be shown: equal for equal texts."""
    return f"sha256-{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def names_file(text: str) -> bool:
    """Whether a text ends as a file's name does."""
    return bool(_FILE.match(plain(text)))


def shown_query(query: str, *, is_file_named: bool) -> str:
    """A query without its secrets; `is_file_named` where the path says already which file it is.

    Dropped are parameters that are secrets by their names. Shown are the file's name, dates, and what has the
    shape of words and numbers; of a signed address the name and dates alone. All else is shown as a hash.
    """
    names = [_letters(name) for name in _PARAMETER.findall(plain(query))]
    rules = _Rules(
        is_signed=any(map(_SECRET.match, names)),
        is_sas="sig" in names,
        is_file_named=is_file_named or any(name in NAME_PARAMETERS for name in names),
    )
    return "&".join(safe_pair for pair in query.split("&") for safe_pair in _shown_pair(pair, rules))


def unshown_values(query: str) -> dict[str, str]:
    """What `shown_query` leaves out though it may name a file, such as `sid` and `fileToken`, by the parameter's name.

    A name that may be a secret itself is masked. The values are secrets: compare them, and show none.
    """
    pairs = (pair.partition("=") for pair in re.split(r"[?&#;]", plain(query)))
    return {
        name[:_MAX_NAME] if is_plain(name) else masked(name): value
        for name, _, value in pairs
        if is_secret(name) and not _OF_SIGNATURE.match(_letters(name))
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """What the other parameters of a query say about each of them."""

    is_signed: bool
    is_sas: bool
    is_file_named: bool

    def drops(self, name: str, value: str) -> bool:
        """Whether a parameter is no part of what identifies the file.

        `code=ppo` tells two files apart; a long random `code` next to the file's name is one of an Azure function.
        """
        name = _letters(name)
        if _SECRET.match(name) or (self.is_sas and _SAS.match(name)):
            return True
        return self.is_file_named and bool(_DOUBTFUL.match(name)) and not (is_plain(value) or _MASKED.match(value))

    def shows(self, name: str, value: str) -> bool:
        """Whether a value may be shown as it is."""
        if name.lower() in NAME_PARAMETERS or _MASKED.match(value) or _DATE.match(value):
            return True
        return not self.is_signed and not _DOUBTFUL.match(_letters(name)) and is_plain(value)


def _shown_pair(pair: str, rules: _Rules) -> Iterator[str]:
    raw_name, equals, raw_value = pair.partition("=")
    # `amp;sig`, `a%26sig` and `sig%3Dx` are called `sig` in the end.
    names = [it for it in re.split(r"[?&#;=\s]+", plain(raw_name)) if it]
    as_written = plain(raw_value)
    if any(rules.drops(name, as_written) for name in names):
        return
    value = _without_hidden(as_written, rules)
    if not equals or len(names) != 1 or not is_plain(names[0].rstrip("0123456789")):  # the secret may be the name
        text = plain(raw_name) + value
        if text:
            yield pair if not equals and rules.shows("", text) else masked(text)
    elif not rules.shows(names[0], value):
        yield f"{raw_name}={masked(value)}"
    else:
        yield pair if value == as_written else f"{raw_name}={quote(value, safe='/', errors='surrogatepass')}"


def _without_hidden(value: str, rules: _Rules) -> str:
    """A value that is an address itself, or holds further parameters, without what is secret of it."""
    head, *parameters = _SEPARATOR.split(_LOGIN.sub(r"\1", value))
    name, is_pair, content = head.partition("=")
    if is_pair and rules.drops(name, content):
        head = ""
    safe_pairs = [it for pair in parameters for it in _shown_pair(pair, rules)]
    return "?".join(filter(None, [head, "&".join(safe_pairs)]))

"""Recognition of secrets: by the names of keys and pins, and by shapes in texts."""

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

# Patterns of names. A name is compared in lower case, and in words: `privateKey`, `Private-Key` and
# `PRIVATE_KEY` are all `_private_key_`.
PATTERNS = (
    *("*password*", "*passwd*", "*passphrase*", "*passcode*", "*_pwd_*", "*_pass_*"),
    *("*secret*", "*token*", "*credential*", "*cookie*", "*bearer*", "*_jwt_*"),
    *("*authorization*", "*_auth_*", "*oauth*", "*session_id*", "*sessionid*", "*session_key*"),
    *("*api_key*", "*apikey*", "*access_key*", "*accesskey*", "*private_key*", "*privatekey*"),
    *("*ssh_key*", "*account_key*", "*encryption_key*", "*signing_key*", "*master_key*"),
    *("*_dsn_*", "*connection_string*", "*connectionstring*", "*conn_str*", "*connection_uri*"),
    *("*signature*", "*_otp_*", "*_sig_*"),
)
REDACTED = "[redacted]"

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_LONGEST_NAME = 1_000  # characters that are compared

_NAMES = (
    r"(?i:pass(?:word|wd|phrase)|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|authorization|credentials?)[\w-]{0,40}"
)
_VALUE = r"[^\s\"',;&)}\]]"
_TOKENS = (
    *(r"sk-[\w-]{4,}", r"[rsp]k_(?:live|test)_\w{4,}", r"A[KS]IA[A-Z0-9]{12,}"),
    *(r"gh[opsur]_\w{10,}", r"github_pat_\w{10,}", r"glpat-[\w-]{10,}", r"xox[a-z]-[\w-]{6,}"),
    *(r"AIza[\w-]{20,}", r"ya29\.[\w-]{10,}", r"npm_\w{20,}", r"hf_\w{20,}"),
    *(r"SG\.[\w-]{10,}\.[\w-]{10,}", r"eyJ[\w-]{5,}\.[\w-]{4,}(?:\.[\w-]*)?"),
)
# Shapes in texts, and their replacements. None begins in the middle of a long word, and repetitions
# are bounded, so that the time grows with the length of a text only.
_SHAPES = (
    (r"(://[^/\s:@]*:)[^\s/@]+(?=@)", r"\1[redacted]"),
    (r"(?<![\w-])((?i:bearer)\s{1,4})[\w.~+/=-]{4,}", r"\1[redacted]"),
    (r"(?<![\w-])(Basic\s{1,4})(?=[\w+/]*(?:[\d=]|[a-z]+[A-Z]))[\w+/]{4,}=*", r"\1[redacted]"),
    (rf"({_NAMES}[\"']?\s{{0,4}}[=:]\s{{0,4}})([\"'])(?:(?!\2).)+\2", r"\1\2[redacted]\2"),
    (rf"({_NAMES}\s{{0,4}}=\s{{0,4}})(?![=\[]){_VALUE}+", r"\1[redacted]"),
    # After a colon there may be prose: a value has letters and digits.
    (
        rf"({_NAMES}\s{{0,4}}:\s{{0,4}})(?!\[)(?={_VALUE}*[A-Za-z])(?={_VALUE}*\d){_VALUE}+",
        r"\1[redacted]",
    ),
    (
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
        REDACTED,
    ),
    (rf"(?<![\w-])(?:{'|'.join(_TOKENS)})", REDACTED),
    (r"(hooks\.slack\.com/services/)[\w/]+", r"\1[redacted]"),
)
_COMPILED = [(re.compile(shape, re.DOTALL), instead) for shape, instead in _SHAPES]


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return whether a name matches one of `patterns`, in any of its forms."""
    lowered = [pattern.lower() for pattern in patterns]

    @lru_cache(maxsize=4096)
    def matches(name: str) -> bool:
        cut = name[:_LONGEST_NAME]
        forms = cut.lower(), f"_{'_'.join(_WORD.findall(cut)).lower()}_"
        return any(fnmatchcase(form, pattern) for pattern in lowered for form in forms)

    return matches


def without_shapes(text: str) -> str:
    """Return `text` with passwords of addresses, tokens and assigned secrets replaced."""
    for shape, instead in _COMPILED:
        text = shape.sub(instead, text)
    return text

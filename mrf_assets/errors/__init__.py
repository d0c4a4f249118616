"""Everything that can go wrong on purpose, as one tree.

Each error's text says which file, where, and what to do next. The facts are the
arguments, so an error survives the way out of a worker process; a bug is not in
this tree and stays a traceback. `base` has the root, `inputs`, `files` and `results` the branches.

    MrfError
    ├── InputError            the user's input; nothing was started        (exit code 2)
    │   ├── SourceProblems    problems of an index, CSV or list, all at once
    │   ├── SettingError      a setting or flag that cannot be used
    │   ├── ListFileError     a whitelist that cannot be read
    │   ├── QueryError        SQL that DuckDB refuses
    │   └── MissingExtra      a package that a plain install leaves out
    ├── IndexShrunk           a watched index names far less than before: taken for broken
    ├── FetchError            a file could not be had                      (one network fails)
    │   ├── NotFoundAtSource
    │   ├── HttpStatusError
    │   │   ├── AccessRefused the signature expired, or there is none: a newer index may help
    │   │   └── ServerBusy    429, 5xx and the like, to the last attempt
    │   ├── ConnectionLostError
    │   ├── TimeSpent         the total time for one file is used up
    │   ├── SourceChanged     another file lies there than the one that was begun
    │   ├── ChecksumMismatch  not the bytes that the server has a checksum of
    │   ├── UntrustedServer   a TLS certificate that cannot be verified
    │   ├── UnsupportedUrl
    │   │   └── AddressRefused a private address, where those are forbidden
    │   ├── RobotsRefused     the host asks programs to stay away from its page
    │   └── NotModified       no failure: asked for if changed, and it has not
    ├── StreamError           bytes that are not the file they claim to be
    │   ├── EmptyFile
    │   ├── UnsupportedContent
    │   ├── TruncatedFile
    │   ├── CorruptArchive
    │   └── LimitExceeded     a bomb, or what looks like one
    ├── ExtractError          JSON that cannot be read as in-network rates
    │   ├── MalformedJson
    │   ├── NotInNetworkFile
    │   └── RemoteReferencesFailed
    ├── PartDied              the process that read a part of a network is gone
    ├── StoreError            the output or temporary folder refused
    │   ├── UnexpectedRows       other rows stand there than those that were written
    │   └── DiskFull
    ├── AuditFailed           blocking checks failed; nothing was published
    ├── WhitelistKeepsNothing published prices would be replaced by none
    ├── LookUpFailed          a service did not answer for one item            (one item fails)
    └── SubmissionRefused     a Dagster server did not take what it was asked
"""

from mrf_assets.errors.base import (
    MrfError,
)
from mrf_assets.errors.files import (
    AccessRefused,
    AddressRefused,
    ChecksumMismatch,
    ConnectionLostError,
    CorruptArchive,
    EmptyFile,
    ExtractError,
    FetchError,
    HttpStatusError,
    LimitExceeded,
    MalformedJson,
    NotFoundAtSource,
    NotInNetworkFile,
    NotModified,
    RemoteReferencesFailed,
    RobotsRefused,
    ServerBusy,
    SourceChanged,
    StreamError,
    TimeSpent,
    TruncatedFile,
    UnsupportedContent,
    UnsupportedUrl,
    UntrustedServer,
)
from mrf_assets.errors.inputs import (
    IndexShrunk,
    InputError,
    ListFileError,
    MissingExtra,
    Problem,
    QueryError,
    SettingError,
    SourceProblems,
)
from mrf_assets.errors.results import (
    AuditFailed,
    DiskFull,
    LookUpFailed,
    PartDied,
    StoreError,
    SubmissionRefused,
    UnexpectedRows,
    WhitelistKeepsNothing,
)

__all__ = [
    "AccessRefused",
    "AddressRefused",
    "AuditFailed",
    "ChecksumMismatch",
    "ConnectionLostError",
    "CorruptArchive",
    "DiskFull",
    "EmptyFile",
    "ExtractError",
    "FetchError",
    "HttpStatusError",
    "IndexShrunk",
    "InputError",
    "LimitExceeded",
    "ListFileError",
    "LookUpFailed",
    "MalformedJson",
    "MissingExtra",
    "MrfError",
    "NotFoundAtSource",
    "NotInNetworkFile",
    "NotModified",
    "PartDied",
    "Problem",
    "QueryError",
    "RemoteReferencesFailed",
    "RobotsRefused",
    "ServerBusy",
    "SettingError",
    "SourceChanged",
    "SourceProblems",
    "StoreError",
    "StreamError",
    "SubmissionRefused",
    "TimeSpent",
    "TruncatedFile",
    "UnexpectedRows",
    "UnsupportedContent",
    "UnsupportedUrl",
    "UntrustedServer",
    "WhitelistKeepsNothing",
]

"""Event streams of the web platform's own tests, and what they mean to a reader of events."""

BOM = b"\xef\xbb\xbf"
LONG = b"x" * 2048

# web-platform-tests, eventsource/format-*: (name, stream, [(type, data)]); no type is `message`.
WEB_PLATFORM_VECTORS = [
    ("bom", BOM + b"data:1\n\n" + BOM + b"data:2\n\ndata:3\n\n", [(None, b"1"), (None, b"3")]),
    ("bom-2", BOM * 2 + b"data:1\n\ndata:2\n\ndata:3\n\n", [(None, b"2"), (None, b"3")]),
    (
        "comments",
        b"data:1\r:\0\n:\r\ndata:2\n:" + LONG + b"\rdata:3\n:data:fail\r:" + LONG + b"\ndata:4\n\n",
        [(None, b"1\n2\n3\n4")],
    ),
    (
        "data-before-final-empty-line",
        b"retry:1000\ndata:test1\n\nid:test\ndata:test2",
        [(None, b"test1")],
    ),
    (
        "field-data",
        b"data:\n\ndata\ndata\n\ndata:test\n\n",
        [(None, b""), (None, b"\n"), (None, b"test")],
    ),
    ("field-event", b"event:test\ndata:x\n\ndata:x\n\n", [(b"test", b"x"), (None, b"x")]),
    ("field-event-empty", b"event: \ndata:data\n\n", [(None, b"data")]),
    ("field-id", b"id: 1\ndata:1\n\ndata:2\n\n", [(None, b"1"), (None, b"2")]),
    ("field-id-null", b"id: 1\0 2\ndata: hello\n\n", [(None, b"hello")]),
    (
        "field-parsing",
        b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\n"
        b"data:3\rdata:\r\n data:32\ndata:4\n\n",
        [(None, b"\0\n 2\n1\n3\n\n4")],
    ),
    ("field-retry", b"retry:3000\n\ndata:test\n\n", [(None, b"test")]),
    ("field-retry-bogus", b"retry:3000\nretry:1000x\ndata:x\n\n", [(None, b"x")]),
    ("field-retry-empty", b"retry\ndata:test\n\n", [(None, b"test")]),
    (
        "field-unknown",
        b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\n\n",
        [(None, b"test\n")],
    ),
    ("leading-space", b"data:\ttest\rdata: \ndata:test\n\n", [(None, b"\ttest\n\ntest")]),
    ("newlines", b"data:test\r\ndata\ndata:test\r\n\r", [(None, b"test\n\ntest")]),
    ("null-character", b"data:\0\n\n\n\n", [(None, b"\0")]),
    ("utf-8", "data:ok…\n\n".encode(), [(None, "ok…".encode())]),
]

"""RFC 9112, sections 2 to 7 and 11, from raw sockets: each rule that asks for an error, with what a client gets.

Behind every malformed request stands a whole one, as a smuggler would put it: the model server must never see it.
A row says the section, the rule in our words, what is sent, and the status that must come. Where the standard lets
a recipient choose (MAY, SHOULD), the row shows our choice; ``proxy/request_head.py`` lists them. Rows of what MUST
be taken stand below, so that nobody meets the table by refusing everything. Responses have a table of their own,
``test_rfc9112_responses.py``. Both were held against the text of the standard, requirement by requirement.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from llm_audit.record.schema import Outcome as Ended
from llm_audit.ship.build import build
from proxy_stage import CALLER
from proxy_wire import h11_responses, wire
from rfc9112 import (
    CHUNKED,
    CHUNKS,
    HEAD,
    HOST,
    LENGTH,
    LINE,
    PATH,
    SMUGGLED,
    Row,
    framed,
    label,
    line,
    over_tcp,
)

MALFORMED = [
    Row("2.1", "a message begins with a start-line", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    Row("2.1", "a request does not begin as a response", line(b"HTTP/1.1 200 OK\r\n")),
    Row("2.2", "a bare CR is invalid: in the request line", line(b"POST " + PATH + b"\r HTTP/1.1\r\n")),
    Row("2.2", "a bare CR is invalid: in a value", framed(b"x-a: b\rx-b: c\r\ncontent-length: 3\r\n")),
    Row("2.2", "a bare CR is invalid: in a name", framed(b"x-a\r: b\r\ncontent-length: 3\r\n")),
    Row("2.2", "a bare CR is invalid: as the end of the request line", LINE[:-1] + HOST + CALLER + LENGTH),
    Row("2.2", "a bare CR is invalid: before CRLF", framed(b"x-a: b\r\r\ncontent-length: 3\r\n")),
    Row("2.2", "a bare CR is invalid: hiding the empty line", HEAD + b"content-length: 3\r\n\r\r\nabc"),
    Row("2.2", "white space before the first field: space", LINE + b" " + HOST + CALLER + LENGTH),
    Row("2.2", "white space before the first field: tab", LINE + b"\t" + HOST + CALLER + LENGTH),
    Row("2.2", "white space before the first field: a field of its own", LINE + b" x: y\r\n" + HOST + CALLER + LENGTH),
    Row("2.2", "no end of line but CRLF: the request line (MAY)", LINE[:-2] + b"\n" + HOST + CALLER + LENGTH),
    Row("2.2", "no end of line but CRLF: a field (MAY)", LINE + b"host: a\n" + CALLER + LENGTH),
    Row("2.2", "no end of line but CRLF: the empty line (MAY)", HEAD + b"content-length: 3\n\nabc"),
    Row("2.2", "no end of line but CRLF: all of them (MAY)", (HEAD + LENGTH).replace(b"\r\n", b"\n")),
    Row("2.2", "what does not match the grammar", b"\r\n\r\n\r\n" + HEAD + LENGTH),
    Row("2.2", "an empty line before the request line (SHOULD be ignored; refused here)", b"\r\n" + HEAD + LENGTH),
    Row("2.2", "what does not match the grammar: nothing but a word", b"QUIT\r\n\r\n"),
    Row("2.2", "what does not match the grammar: zero bytes", b"\0" * 64 + b"\r\n\r\n"),
    Row("2.3", "a major version that is not spoken", line(b"POST " + PATH + b" HTTP/2.0\r\n"), 505),
    Row("2.3", "a major version that is not spoken: HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Row("2.3", "the version's name is in capitals", line(b"POST " + PATH + b" http/1.1\r\n")),
    Row("2.3", "one digit, a dot, one digit: two", line(b"POST " + PATH + b" HTTP/1.10\r\n")),
    Row("2.3", "one digit, a dot, one digit: none", line(b"POST " + PATH + b" HTTP/1.\r\n")),
    Row("2.3", "one digit, a dot, one digit: comma", line(b"POST " + PATH + b" HTTP/1,1\r\n")),
    Row("2.3", "one digit, a dot, one digit: space", line(b"POST " + PATH + b" HTTP/ 1.1\r\n")),
    Row("2.3", "one digit, a dot, one digit: two before the dot", line(b"POST " + PATH + b" HTTP/01.1\r\n")),
    Row("2.3", "a higher minor version (SHOULD be processed as 1.1; refused here)", line(b"POST " + PATH + b" HTTP/1.2\r\n")),
    Row("2.3", "a major version that is not spoken: HTTP/0.9 by number", line(b"POST " + PATH + b" HTTP/0.9\r\n"), 505),
    Row("2.3", "a major version that is not spoken: HTTP/0.9 as it was", b"GET /x\r\n\r\n"),
    Row("2.3", "another protocol's name", line(b"POST " + PATH + b" ICY/1.1\r\n")),
    Row("3", "one space between words: two", line(b"POST  " + PATH + b" HTTP/1.1\r\n")),
    Row("3", "one space between words: two at the end", line(b"POST " + PATH + b"  HTTP/1.1\r\n")),
    Row("3", "one space between words: tab", line(b"POST\t" + PATH + b" HTTP/1.1\r\n")),
    Row("3", "one space between words: form feed", line(b"POST " + PATH + b"\x0cHTTP/1.1\r\n")),
    Row("3", "one space between words: before the line", line(b" " + LINE)),
    Row("3", "one space between words: after the line", line(LINE[:-2] + b" \r\n")),
    Row("3", "three words: no version", line(b"POST " + PATH + b"\r\n")),
    Row("3", "three words: no target", line(b"POST HTTP/1.1\r\n")),
    Row("3", "three words: four", line(b"POST " + PATH + b" x HTTP/1.1\r\n")),
    Row("3", "three words: none", b" \r\n" + HOST + CALLER + LENGTH),
    Row("3.1", "a method is a token", line(b"PO(ST " + PATH + b" HTTP/1.1\r\n")),
    Row("3.1", "a method is case-sensitive", line(b"post " + PATH + b" HTTP/1.1\r\n")),
    Row("3", "a method longer than any (SHOULD 501)", line(b"X" * 2000 + b" " + PATH + b" HTTP/1.1\r\n")),
    Row("3", "a method that nobody knows (SHOULD 501)", line(b"BREW " + PATH + b" HTTP/1.1\r\n")),
    Row("3", "a target too long is 414: whole", line(b"POST " + PATH + b"?" + b"x" * 70_000 + b" HTTP/1.1\r\n"), 414),
    Row("3", "a target too long is 414: without end", b"POST /" + b"x" * 70_000, 414),
    Row("3.2", "no white space within a target", line(b"POST " + PATH + b"? HTTP/1.1 HTTP/1.1\r\n")),
    Row("3.2", "HTTP/1.1 without Host", LINE + CALLER + LENGTH),
    Row("3.2", "two Hosts, the same", line(LINE, HOST + HOST)),
    Row("3.2", "two Hosts, different", line(LINE, HOST + b"Host: b\r\n")),
    Row("3.2", "two Hosts in HTTP/1.0", line(b"POST " + PATH + b" HTTP/1.0\r\n", HOST + b"Host: b\r\n")),
    Row("3.2", "an invalid Host: two words", line(LINE, b"host: a b\r\n")),
    Row("3.2", "an invalid Host: a list", line(LINE, b"host: a, a\r\n")),
    Row("3.2", "an invalid Host: a path", line(LINE, b"host: a/b\r\n")),
    Row("3.2", "an invalid Host: userinfo", line(LINE, b"host: u@a\r\n")),
    Row("3.2", "an invalid Host: a URI", line(LINE, b"host: http://a\r\n")),
    Row("3.2", "an invalid Host: no port", line(LINE, b"host: a:b\r\n")),
    Row("3.2", "an invalid Host: an open bracket", line(LINE, b"host: [::1\r\n")),
    Row("3.2", "an invalid Host: beyond ASCII", line(LINE, b"host: \xc3\xa4\r\n")),
    Row("3.2.1", "origin-form begins with a slash", line(b"POST v1/chat/completions HTTP/1.1\r\n")),
    Row("3.2.1", "origin-form has no fragment", line(b"POST " + PATH + b"#x HTTP/1.1\r\n")),
    Row("3.2.1", "a target is of URI characters: control", line(b"POST " + PATH + b"?\x01 HTTP/1.1\r\n")),
    Row("3.2.1", "a target is of URI characters: DEL", line(b"POST " + PATH + b"?\x7f HTTP/1.1\r\n")),
    Row("3.2.1", "a target is of URI characters: beyond ASCII", line(b"POST " + PATH + b"?\xe9 HTTP/1.1\r\n")),
    Row("3.2.2", "absolute-form of another host", line(b"POST http://b" + PATH + b" HTTP/1.1\r\n")),
    Row("3.2.2", "absolute-form without a host (RFC 9110 section 4.2.1)", line(b"POST http://" + PATH + b" HTTP/1.1\r\n", b"host:\r\n")),
    Row("3.2.2", "absolute-form without a host, HTTP/1.0", line(b"POST http://" + PATH + b" HTTP/1.0\r\n", b"")),
    Row("3.2.2", "absolute-form with userinfo (RFC 9110 section 4.2.4)", line(b"POST http://u:p@a" + PATH + b" HTTP/1.0\r\n", b"")),
    Row("3.2.2", "absolute-form of another scheme", line(b"POST ftp://a" + PATH + b" HTTP/1.1\r\n")),
    Row("3.2.3", "authority-form is CONNECT's", line(b"POST a:80 HTTP/1.1\r\n")),
    Row("3.2.3", "CONNECT is not spoken here", line(b"CONNECT a:443 HTTP/1.1\r\n")),
    Row("3.2.3", "CONNECT to no port (RFC 9110 section 9.3.6)", line(b"CONNECT a: HTTP/1.1\r\n")),
    Row("3.2.3", "CONNECT in origin-form", line(b"CONNECT " + PATH + b" HTTP/1.1\r\n")),
    Row("3.2.4", "asterisk-form is OPTIONS'", line(b"POST * HTTP/1.1\r\n")),
    Row("3.2.4", "OPTIONS of the whole server is not spoken here", line(b"OPTIONS * HTTP/1.1\r\n")),
    Row("5", "a field line has a colon", framed(b"x-a\r\ncontent-length: 3\r\n")),
    Row("5", "a field line has a name", framed(b": b\r\ncontent-length: 3\r\n")),
    Row("5", "a name is a token", framed(b"x[a]: b\r\ncontent-length: 3\r\n")),
    Row("5", "a name is a token: beyond ASCII", framed(b"x\xe9: b\r\ncontent-length: 3\r\n")),
    Row("5", "no zero byte in a value (RFC 9110 section 5.5)", framed(b"x-a: \0\r\ncontent-length: 3\r\n")),
    Row("5", "no control character in a value", framed(b"x-a: \x1b[0m\r\ncontent-length: 3\r\n")),
    Row("5.1", "no white space before the colon: length", framed(b"content-length : 3\r\n")),
    Row("5.1", "no white space before the colon: coding", framed(b"transfer-encoding : chunked\r\n", CHUNKS)),
    Row("5.1", "no white space before the colon: tab", framed(b"transfer-encoding\t: chunked\r\n", CHUNKS)),
    Row("5.1", "no white space before the colon: Host", line(LINE, b"host : a\r\n")),
    Row("5.1", "no white space before the colon: any field", framed(b"x-a : b\r\ncontent-length: 3\r\n")),
    Row("5.2", "no line folding: space", framed(b"x-a: b\r\n c\r\ncontent-length: 3\r\n")),
    Row("5.2", "no line folding: tab", framed(b"x-a: b\r\n\tc\r\ncontent-length: 3\r\n")),
    Row("5.2", "no line folding: a coding in it", framed(b"content-length: 3\r\nx-a: b\r\n transfer-encoding: chunked\r\n")),
    Row("5.2", "no line folding: a coding's value", framed(b"transfer-encoding:\r\n chunked\r\n", CHUNKS)),
    Row("5.2", "no line folding: behind a field that is taken out", framed(b"Upgrade: h2c\r\n x\r\ncontent-length: 3\r\n")),
    Row("5.2", "no line folding: of white space alone", framed(b"content-length: 3\r\nx-a: b\r\n \r\n")),
    Row("5.2", "no line folding: Host", line(LINE, b"host: a\r\n b\r\n")),
    Row("5.4 of RFC 9110", "fields that are more than is wished for get a 4xx", framed(b"x: " + b"y" * 70_000 + b"\r\ncontent-length: 3\r\n"), 431),
    Row("2.2", "a bare CR is invalid: in a field that is taken out", framed(b"Upgrade: h2c\rx: y\r\ncontent-length: 3\r\n")),
    Row("11.2", "a coding behind a lone LF, in a field that is taken out", framed(b"Upgrade: h2c\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n")),
    Row("5", "no zero byte in a field that is taken out", framed(b"Upgrade: h2c\0\r\ncontent-length: 3\r\n")),
    Row("6.1", "a coding in HTTP/1.0 is faulty framing", framed(b"transfer-encoding: chunked\r\n", CHUNKS, version=b"1.0")),
    Row("6.1", "a coding in HTTP/1.0 is faulty framing even with a length", framed(b"content-length: 3\r\ntransfer-encoding: chunked\r\n", CHUNKS, version=b"1.0")),
    Row("6.1", "chunked once: in one field", framed(b"transfer-encoding: chunked, chunked\r\n", CHUNKS)),
    Row("6.1", "chunked once: in two fields", framed(b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", CHUNKS)),
    Row("6.1", "a coding that is not understood (SHOULD 501)", framed(b"transfer-encoding: gzip, chunked\r\n", CHUNKS), 501),
    Row("6.1", "a coding that is not understood (SHOULD 501): identity", framed(b"transfer-encoding: identity, chunked\r\n", CHUNKS), 501),
    Row("6.1", "a coding that is not understood (SHOULD 501): nothing", framed(b"transfer-encoding: , chunked\r\n", CHUNKS), 501),
    Row("6.1", "a coding that is not understood, in two fields (SHOULD 501)", framed(b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", CHUNKS)),
    Row("6.1", "length and coding (MAY, but close)", framed(b"content-length: 3\r\ntransfer-encoding: chunked\r\n", CHUNKS)),
    Row("6.1", "coding and length (MAY, but close)", framed(b"transfer-encoding: chunked\r\ncontent-length: 6\r\n", CHUNKS)),
    Row("6.3", "rule 4: chunked is not last", framed(b"transfer-encoding: chunked, gzip\r\n", CHUNKS)),
    Row("6.3", "rule 4: no chunked", framed(b"transfer-encoding: gzip\r\n")),
    Row("6.3", "rule 4: identity, which is no coding any more", framed(b"transfer-encoding: identity\r\n")),
    Row("6.3", "rule 4: a name that ends so", framed(b"transfer-encoding: xchunked\r\n", CHUNKS)),
    Row("6.3", "rule 4: a parameter", framed(b"transfer-encoding: chunked;q=1\r\n", CHUNKS)),
    Row("6.3", "rule 4: quoted", framed(b'transfer-encoding: "chunked"\r\n', CHUNKS)),
    Row("6.3", "rule 4: nothing", framed(b"transfer-encoding:\r\n", CHUNKS)),
    Row("6.3", "rule 4: vertical tab", framed(b"transfer-encoding:\x0bchunked\r\n", CHUNKS)),
    Row("6.3", "rule 4: no-break space", framed(b"transfer-encoding: \xa0chunked\r\n", CHUNKS)),
    Row("6.3", "rule 4: form feed", framed(b"transfer-encoding: \x0cchunked\r\n", CHUNKS)),
    Row("6.3", "rule 4: zero byte", framed(b"transfer-encoding: chunked\0\r\n", CHUNKS)),
    Row("6.3", "rule 4: a second word", framed(b"transfer-encoding: chunked identity\r\n", CHUNKS)),
    Row("6.3", "rule 4: nothing is last", framed(b"transfer-encoding: chunked,\r\n", CHUNKS)),
    Row("6.3", "rule 4: a name that begins so", framed(b"transfer-encoding: chunk\r\n", CHUNKS)),
    Row("6.3", "rule 4: even where a second field says chunked", framed(b"transfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n", CHUNKS)),
    Row("6.3", "rule 5: two lengths, different", framed(b"content-length: 3\r\ncontent-length: 30\r\n")),
    Row("6.3", "rule 5: two lengths, the same (MAY)", framed(b"content-length: 3\r\ncontent-length: 3\r\n")),
    Row("6.3", "rule 5: a list of different lengths", framed(b"content-length: 3, 30\r\n")),
    Row("6.3", "rule 5: a list of one length (MAY)", framed(b"content-length: 3, 3\r\n")),
    Row("6.3", "rule 5: a sign", framed(b"content-length: +3\r\n")),
    Row("6.3", "rule 5: below zero", framed(b"content-length: -3\r\n")),
    Row("6.3", "rule 5: below zero, by nothing", framed(b"content-length: -0\r\n", b"")),
    Row("6.3", "rule 5: an empty list element before", framed(b"content-length: ,3\r\n")),
    Row("6.3", "rule 5: an empty list element after", framed(b"content-length: 3,\r\n")),
    Row("6.3", "rule 5: vertical tab", framed(b"content-length: \x0b3\r\n")),
    Row("6.3", "rule 5: invalid beside a coding", framed(b"content-length: x\r\ntransfer-encoding: chunked\r\n", CHUNKS)),
    Row("6.3", "rule 6: 2 to the power of 63 is past the limit of bodies", framed(b"content-length: 9223372036854775808\r\n"), 413),
    Row("6.3", "rule 5: hexadecimal", framed(b"content-length: 0x3\r\n")),
    Row("6.3", "rule 5: an exponent", framed(b"content-length: 3e0\r\n")),
    Row("6.3", "rule 5: a fraction", framed(b"content-length: 3.0\r\n")),
    Row("6.3", "rule 5: an underscore, which Python takes", framed(b"content-length: 0_3\r\n")),
    Row("6.3", "rule 5: two words", framed(b"content-length: 3 0\r\n")),
    Row("6.3", "rule 5: nothing", framed(b"content-length:\r\n")),
    Row("6.3", "rule 5: a word", framed(b"content-length: three\r\n")),
    Row("6.3", "rule 5: digits beyond ASCII", framed(b"content-length: \xd9\xa3\r\n")),
    Row("6.3", "rule 5: quoted", framed(b'content-length: "3"\r\n')),
    Row("6.3", "rule 5: 2 to the power of 64 and 3", framed(b"content-length: 18446744073709551619\r\n")),
    Row("7.1", "large sizes do not overflow: 2 to the power of 64 and 3", CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "large sizes do not overflow: a hundred digits", CHUNKED + b"f" * 100 + b"\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "a size past the limit of bodies", CHUNKED + b"7ff\r\n" + b"x" * 2047 + b"\r\n0\r\n\r\n", 413),
    Row("7.1", "a size has digits", CHUNKED + b"\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "a size has digits: an extension alone", CHUNKED + b";x=y\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "a size has hexadecimal digits", CHUNKED + b"g\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "a size has no prefix", CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "a size has no sign: minus", CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "a size has no sign: plus", CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "a size has no space before it", CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "a size has no underscore", CHUNKED + b"0_3\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "a size has no space behind it", CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "a size has no tab behind it", CHUNKED + b"3\t\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "a size has nothing but an extension behind it", CHUNKED + b"3,x\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "chunk data are as long as their size: longer", CHUNKED + b"2\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "chunk data are as long as their size: shorter", CHUNKED + b"4\r\nabc\r\n0\r\n\r\n"),
    Row("7.1", "CRLF follows chunk data: nothing", CHUNKED + b"3\r\nabc0\r\n\r\n"),
    Row("7.1", "CRLF follows chunk data: LF", CHUNKED + b"3\r\nabc\n0\r\n\r\n"),
    Row("7.1", "CRLF follows chunk data: two CR", CHUNKED + b"3\r\nabc\r\r\n0\r\n\r\n"),
    Row("7.1", "CRLF follows a size: LF", CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    Row("7.1", "CRLF follows a size: CR", CHUNKED + b"3\rabc\r\n0\r\n\r\n"),
    Row("7.1", "CRLF follows the last chunk: LF", CHUNKED + b"3\r\nabc\r\n0\n\r\n"),
    Row("7.1", "CRLF ends the trailers: LF", CHUNKED + b"3\r\nabc\r\n0\r\nx: y\n\n"),
    Row("7.1.1", "no LF in an extension", CHUNKED + b"3;x\ny\r\nabc\r\n0\r\n\r\n"),
    Row("7.1.1", "no CR in an extension", CHUNKED + b"3;x\ry\r\nabc\r\n0\r\n\r\n"),
    Row("7.1.1", "no zero byte in an extension", CHUNKED + b"3;\0\r\nabc\r\n0\r\n\r\n"),
    Row("7.1.1", "no DEL in an extension", CHUNKED + b"3;x\x7f\r\nabc\r\n0\r\n\r\n"),
    Row("7.1.1", "an extension has a name", CHUNKED + b"3;\r\nabc\r\n0\r\n\r\n"),
    Row("7.1.1", "an extension's name is a token", CHUNKED + b"3;x@y\r\nabc\r\n0\r\n\r\n"),
    Row("7.1.1", "white space before an extension (bad, and MUST be parsed; refused here)", CHUNKED + b"3 ;x\r\nabc\r\n0\r\n\r\n"),
    Row("7.1.1", "white space in an extension (bad, and MUST be parsed; refused here)", CHUNKED + b"3; x\r\nabc\r\n0\r\n\r\n"),
    Row("7.1.1", "a quoted extension does not hold lines", CHUNKED + b'3;x="\r\nabc"\r\n0\r\n\r\n'),
    Row("7.1.1", "the length of extensions is limited", CHUNKED + (b"1;" + b"x" * 9000 + b"\r\na\r\n") * 10 + b"0\r\n\r\n"),
    Row("7.1.2", "a trailer is a field: no colon", CHUNKED + b"3\r\nabc\r\n0\r\nx\r\n\r\n"),
    Row("7.1.2", "a trailer is a field: no name", CHUNKED + b"3\r\nabc\r\n0\r\n: y\r\n\r\n"),
    Row("7.1.2", "a trailer is a field: space before the colon", CHUNKED + b"3\r\nabc\r\n0\r\nx : y\r\n\r\n"),
    Row("7.1.2", "a trailer is a field: folded", CHUNKED + b"3\r\nabc\r\n0\r\nx: y\r\n z\r\n\r\n"),
    Row("7.1.2", "a trailer is a field: zero byte", CHUNKED + b"3\r\nabc\r\n0\r\nx: \0\r\n\r\n"),
    Row("7.1.2", "a trailer is a field: a bare CR", CHUNKED + b"3\r\nabc\r\n0\r\nx: y\rz: 0\r\n\r\n"),
    Row("7.1.2", "the length of trailers is limited", CHUNKED + b"3\r\nabc\r\n0\r\n" + b"x: y\r\n" * 20_000 + b"\r\n"),
    Row("7.1.2", "framing is no trailer", CHUNKED + b"3\r\nabc\r\n0\r\ncontent-length: 99\r\n\r\n"),
    Row("7.1.2", "framing is no trailer: a coding", CHUNKED + b"3\r\nabc\r\n0\r\ntransfer-encoding: chunked\r\n\r\n"),
    Row("7.2", "a coding of compression has no parameter (SHOULD be an error)", framed(b"transfer-encoding: gzip;q=1, chunked\r\n", CHUNKS), 501),
    Row("11.1", "no field of a response through a field of a request", framed(b"x-request-id: a\rset-cookie: b\r\ncontent-length: 3\r\n")),
    Row("11.2", "a message in the body of one with length and coding", framed(b"content-length: 4\r\ntransfer-encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED)),
    Row("11.2", "a coding that one of two parsers overlooks", framed(b"content-length: 3\r\ntransfer-encoding\0: chunked\r\n", b"0\r\n\r\n" + SMUGGLED)),
    Row("11.2", "a length that one of two parsers overlooks", framed(b"content-length: 3\r\ncontent-length\0: 300\r\n", SMUGGLED)),
]  # fmt: skip


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    with wire(tmp_path_factory.mktemp("rfc9112"), max_body_bytes=2000) as one:
        yield one


@pytest.mark.parametrize("row", MALFORMED, ids=label)
def test_a_malformed_request_is_answered_recorded_closed_and_nothing_behind_it_is_served(proxy, row):
    proxy.journaled()
    received = proxy.run(over_tcp(proxy, row.sent + SMUGGLED, then=SMUGGLED))
    (answer,), complaint = h11_responses(received, [b"POST"], ended=True)
    assert complaint is None
    assert answer.complete
    assert int(answer.start[0]) == row.status
    assert b"close" in answer.values(b"connection")
    assert not answer.values(b"set-cookie")
    assert proxy.stage.model.calls == []
    (ended,) = proxy.journaled()
    assert ended.end.outcome is Ended.REJECTED
    record = json.loads(build(ended, None).data)
    assert record["statusCode"] == row.status
    assert json.loads(answer.body)["error"]["message"] == record["error"]["message"]


class Taken(NamedTuple):
    """One rule and a message that must be taken by it."""

    section: str
    rule: str
    sent: bytes
    body: bytes


WELL_FORMED = [
    Taken("2.2", "any byte that is no control character may be in a value", framed(b"x-a: \xff\t\x80\r\ncontent-length: 3\r\n"), b"abc"),
    Taken("3.2", "an empty Host", line(LINE, b"host:\r\n"), b"abc"),
    Taken("3.2", "a Host with port, in brackets", line(LINE, b"host: [::1]:8000\r\n"), b"abc"),
    Taken("3.2.2", "absolute-form of the same host", line(b"POST http://a" + PATH + b" HTTP/1.1\r\n"), b"abc"),
    Taken("3", "a request line of 8,000 bytes (RECOMMENDED)", line(b"POST " + PATH + b"?" + b"x" * 7960 + b" HTTP/1.1\r\n"), b"abc"),
    Taken("5.1", "white space around a value", framed(b"content-length:\t 3 \t\r\n"), b"abc"),
    Taken("6.2", "leading zeros of a length", framed(b"content-length: 0003\r\n"), b"abc"),
    Taken("6.2", "a length of several zeros", framed(b"content-length: 00\r\n", b""), b""),
    Taken("6.1", "names that only look like framing are none", framed(b"transfer_encoding: chunked\r\ncontent_length: 0\r\ncontent-length: 5\r\n", b"0\r\n\r\n"), b"0\r\n\r\n"),
    Taken("6.1", "white space around a coding", framed(b"transfer-encoding:\tchunked \r\n", CHUNKS), b"abc"),
    Taken("6.3", "rule 7: no length and no coding is no body", HEAD + b"\r\n", b""),
    Taken("6.1", "a coding's name in any case", framed(b"Transfer-Encoding: Chunked\r\n", CHUNKS), b"abc"),
    Taken("7.1", "sizes in any case, with leading zeros", CHUNKED + b"00A\r\n0123456789\r\n0a\r\n0123456789\r\n000\r\n\r\n", b"0123456789" * 2),
    Taken("7.1.1", "extensions that nobody knows are ignored", CHUNKED + b'3;a;b=c;d="e;f"\r\nabc\r\n0;g\r\n\r\n', b"abc"),
    Taken("7.1.2", "trailers are dropped and join no fields", CHUNKED + b"3\r\nabc\r\n0\r\nx-llm-user: mallory\r\nhost: b\r\n\r\n", b"abc"),
    Taken("7.1.2", "trailers are no credentials", CHUNKED + b"3\r\nabc\r\n0\r\nauthorization: mallory\r\n\r\n", b"abc"),
    Taken("7.1", "a body that looks like the end of one", CHUNKED + b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
    Taken("7.4", "TE ends at this hop", framed(b"TE: trailers, chunked\r\ncontent-length: 3\r\n"), b"abc"),
]  # fmt: skip


@pytest.mark.parametrize("row", WELL_FORMED, ids=label)
def test_what_must_be_taken_is_taken_and_the_next_request_begins_at_its_end(proxy, row):
    following = b"PUT /x HTTP/1.1\r\n" + HOST + CALLER + b"connection: close\r\ncontent-length: 1\r\n\r\nz"
    received = proxy.run(over_tcp(proxy, row.sent + following))
    answers, complaint = h11_responses(received, [b"POST", b"PUT"], ended=True)
    assert complaint is None
    assert [one.start[0] for one in answers] == [b"200", b"200"]
    first, second = proxy.stage.model.calls
    method, target, _ = first.head.split(b" ", 2)
    assert (method, target.partition(b"?")[0], first.body) == (b"POST", PATH, row.body)
    assert (second.head.split(b" ")[:2], second.body) == ([b"PUT", b"/x"], b"z")
    assert b"mallory" not in first.head
    for upstream in (first, second):
        assert upstream.head.split(b"\r\n")[0].endswith(b" HTTP/1.1")
        assert (
            upstream.head.count(b"\r\nhost: 127.0.0.1:") == 1
        )  # RFC 9112 section 3.2.2: generated, never the client's
        assert b"transfer-encoding" not in upstream.head.lower()
    assert b"\r\nte:" not in first.head.lower()


HTTP_1_0 = b"POST " + PATH + b" HTTP/1.0\r\n"
TAKEN_LAST = [
    Taken("3.2", "HTTP/1.0 needs no Host", HTTP_1_0 + CALLER + LENGTH, b"abc"),
    Taken("3.2.2", "absolute-form in HTTP/1.0", HTTP_1_0.replace(PATH, b"http://a" + PATH) + CALLER + LENGTH, b"abc"),
    Taken("9.3", "no persistence for HTTP/1.0, whatever it asks for", HTTP_1_0 + CALLER + b"connection: keep-alive\r\n" + LENGTH, b"abc"),
    Taken("9.6", "close ends the connection", framed(b"connection: close\r\ncontent-length: 3\r\n"), b"abc"),
    Taken("9.6", "close ends the connection, among other options", framed(b"connection: x, Close\r\ncontent-length: 3\r\n"), b"abc"),
]  # fmt: skip


@pytest.mark.parametrize("row", TAKEN_LAST, ids=label)
def test_what_must_be_taken_as_the_last_request_of_its_connection_is_and_nothing_after_it(proxy, row):
    received = proxy.run(over_tcp(proxy, row.sent + SMUGGLED))
    (answer,), complaint = h11_responses(received, [b"POST"], ended=True)
    assert complaint is None
    assert (answer.start[0], answer.values(b"connection")) == (b"200", [b"close"])
    (only,) = proxy.stage.model.calls
    assert only.body == row.body
    assert only.head.startswith(LINE)


@pytest.mark.parametrize(
    "sent",
    [
        framed(b"content-length: 300\r\n"),
        CHUNKED + b"3\r\nabc\r\n",
        CHUNKED + b"30\r\nabc",
        CHUNKED + b"3\r\nabc\r\n0\r\n",
        CHUNKED + b"3\r\nabc\r\n0\r\nx: y\r\n",
        HEAD[:-2],
        HEAD,
    ],
)
def test_a_message_that_ends_before_its_end_is_incomplete_and_goes_nowhere(proxy, sent):
    """RFC 9112 section 6.3, rule 6, and section 7.1: the connection ends, and no answer is a good one."""
    received = proxy.run(over_tcp(proxy, sent, leave=True))
    assert not received.startswith(b"HTTP/1.1 2")
    assert proxy.stage.model.calls == []

/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The parser as it runs in the kernel, beside llhttp: both read the same bytes, and what they see must agree.
 *
 * An input is two bytes and a stream: the first says which direction it is (enum mode), the second seeds the sizes of the
 * segments that both get. Each keeps a list of the messages it saw. The lists must be equal, but for the rules in
 * `excused_us` and `excused_them`: there, and only there, one may stop before the other. Anything else aborts.
 *
 * With libFuzzer (and -DFUZZER) inputs are made up; otherwise main reads the files that it is given.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include "answers.h"
#include "requests.h"
#include "llhttp.h"

enum mode { ANSWERS = 1, TO_HEAD = 2 };

#define MOST 200 /* messages that are compared */
#define SEGMENT_BYTES 700

struct seen {
	__u32 kind; /* method, or status */
	__u64 bytes; /* of an answer's body */
	char path[PATH];
	__u32 length;
};

struct list {
	struct seen seen[MOST];
	__u32 count;
};

static struct stream stream;
static struct list ours, theirs;
static struct metric metric;
static struct route path_seen;
static int is_request;

/* ---- what the kernel does for the parser ---- */

static void append(struct list *to, const struct seen *one)
{
	if (to->count < MOST)
		to->seen[to->count++] = *one;
}

static void note_request(void)
{
	struct seen one = { .kind = stream.request.method, .length = strnlen(path_seen.path, PATH) };

	memcpy(one.path, path_seen.path, PATH);
	append(&ours, &one);
}

static void note_answer(void)
{
	struct seen one = { .kind = stream.response.status, .bytes = stream.response.bytes };

	append(&ours, &one);
}

void *bpf_map_lookup_elem(void *map, const void *key)
{
	static __u64 total;
	static __u32 number = FEW;

	if (map == (void *)&totals) {
		if (*(const __u32 *)key == REQUESTS)
			note_request();
		if (*(const __u32 *)key == ANSWERED)
			note_answer();
		return &total;
	}
	if (map == (void *)&routes) {
		path_seen = *(const struct route *)key;
		return &number;
	}
	return map == (void *)&metrics ? &metric : 0;
}

long bpf_map_update_elem(void *map, const void *key, const void *value, __u64 flags)
{
	(void)map, (void)key, (void)value, (void)flags;
	return 0;
}

__u64 bpf_ktime_get_ns(void)
{
	static __u64 now;

	return ++now;
}

/* ---- our parser ---- */

/* One segment, as READ in http.bpf.c does it; the last event. */
static int read_segment(struct half *h, const __u8 *data, __u32 size)
{
	struct memory packet = { (const char *)data, size };
	int event = AGAIN;

	h->position = 0;
	h->end = size;
	while (event == AGAIN) {
		stream.popped = is_request ? stream.pushed : stream.popped; /* nothing waits too long */
		event = is_request ? read_request(&packet, &stream) : read_response(&packet, &stream);
	}
	return event;
}

/* ---- llhttp ---- */

static llhttp_t llhttp;
static llhttp_settings_t settings;
static struct seen current;
static int to_head, in_message, in_head;
static int spaced; /* two spaces stand side by side somewhere */
static int tabbed; /* "chunked" and a tab: to llhttp not chunked, though RFC 9110, 5.6.3 lets a tab stand there */
static int longest, widest; /* run of digits, of spaces and tabs */
static int padded; /* a space or tab stands behind a digit */
static int odd_coding; /* our parser has marked a message as odd */
static int preface; /* the first line of HTTP/2's preface is somewhere */
static int loose; /* a first line ends with LF alone */
static int alone; /* an LF without CR is somewhere */
static int bare; /* a CR without LF is somewhere */
static __u32 other_version; /* the first message, counted from 1, that is not HTTP/1.x; 0: none */

static int on_begin(llhttp_t *p)
{
	(void)p;
	memset(&current, 0, sizeof(current));
	in_head = 1;
	return 0;
}

static int on_url(llhttp_t *p, const char *at, size_t length)
{
	(void)p;
	for (; length; length--, at++) {
		if (*at == '?')
			current.bytes = 1; /* the rest is no path */
		if (!current.bytes && current.length < PATH)
			current.path[current.length++] = *at;
	}
	return 0;
}

static __u32 our_method(unsigned method)
{
	static const char *const names[METHODS] = { [GET] = "GET",	     [HEAD_METHOD] = "HEAD", [POST] = "POST",
						    [PUT] = "PUT",	     [DELETE] = "DELETE",    [CONNECT] = "CONNECT",
						    [OPTIONS] = "OPTIONS",   [TRACE] = "TRACE",      [PATCH] = "PATCH" };

	for (__u32 i = 1; i < METHODS; i++)
		if (!strcmp(names[i], llhttp_method_name(method)))
			return i;
	return OTHER_METHOD;
}

static int on_head(llhttp_t *p)
{
	in_head = 0;
	if (p->http_major != 1 && !other_version)
		other_version = theirs.count + 1;
	if (is_request) {
		current.kind = our_method(p->method);
		current.bytes = 0;
		append(&theirs, &current);
		return 0;
	}
	current.kind = p->status_code;
	in_message = p->status_code >= 200 || p->status_code == 101;
	return p->status_code < 200 || to_head; /* 1: no body follows */
}

static int on_body(llhttp_t *p, const char *at, size_t length)
{
	(void)p, (void)at;
	if (!is_request)
		current.bytes += length;
	return 0;
}

static int on_complete(llhttp_t *p)
{
	(void)p;
	if (in_message)
		append(&theirs, &current);
	in_message = 0;
	return 0;
}

static void start_llhttp(void)
{
	llhttp_settings_init(&settings);
	settings.on_message_begin = on_begin;
	settings.on_url = on_url;
	settings.on_headers_complete = on_head;
	settings.on_body = on_body;
	settings.on_message_complete = on_complete;
	llhttp_init(&llhttp, is_request ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
	llhttp_set_lenient_keep_alive(&llhttp, 1); /* we do not look at Connection: what comes is read */
	llhttp_set_lenient_optional_cr_before_lf(&llhttp, 1); /* RFC 9112, 2.2: a line may end with LF alone */
}

static enum llhttp_errno feed_llhttp(const __u8 *data, size_t size)
{
	enum llhttp_errno error = llhttp_execute(&llhttp, (const char *)data, size);

	while (is_request && error == HPE_PAUSED_UPGRADE) { /* asked for; that it is granted is not known here */
		const char *at = llhttp_get_error_pos(&llhttp), *end = (const char *)data + size;

		llhttp_resume_after_upgrade(&llhttp);
		error = at < end ? llhttp_execute(&llhttp, at, end - at) : HPE_OK;
	}
	return error;
}

/* ---- where one may stop before the other ---- */

static int because(const char *start)
{
	const char *reason = llhttp_get_error_reason(&llhttp);

	return reason && !strncmp(reason, start, strlen(start));
}

/* llhttp stopped, and we saw more. */
static int excused_us(enum llhttp_errno error)
{
	switch (error) {
	case HPE_OK: /* PRI is a method like others here, while llhttp waits for more; its HTTP/2.0 is refused */
		return preface || loose || alone; /* and LF alone: llhttp waits for one more behind it */
	case HPE_INVALID_HEADER_TOKEN: /* bytes in fields that do not say where the message ends */
	case HPE_PAUSED_H2_UPGRADE:
	case HPE_INVALID_METHOD: /* every word of capitals is a method */
	case HPE_INVALID_URL: /* bytes above 0x20 that are not of a URI */
		return 1;
	case HPE_INVALID_VERSION: /* RFC 9110, 2.5: a higher minor version is read as the highest that is known */
		return 1;
	case HPE_INVALID_CHUNK_SIZE: /* some servers pad sizes with spaces; a size that is no number is refused */
		return padded && because("Invalid character in chunk size");
	case HPE_LF_EXPECTED: /* RFC 9112, 2.2: CR without LF in the value of a field may be taken for a space */
		return because("Missing expected LF after header value");
	case HPE_STRICT:
		if (because("Invalid character in chunk extensions") || because("Expected LF after chunk size"))
			return 1; /* RFC 9112, 7.1.1: extensions are not read, and up to a size CR without LF is refused */
		if (because("Expected LF after headers") && (loose || llhttp.flags & F_TRAILING))
			return 1; /* trailers are not read */
		/* RFC 9112, 2.2: a line may end with LF alone; of llhttp only later lines may. And a CR
		 * without LF may be a space in a field or a reason phrase; in a request's first line we refuse it. */
		return (in_head || llhttp.flags & F_TRAILING) &&
		       (because("Expected CRLF after version") || because("Expected LF after CR"));
	case HPE_INVALID_CONTENT_LENGTH: /* RFC 9112, 6.3: the transfer coding overrides; marked as odd */
		return because("Content-Length can't be present with Transfer-Encoding");
	case HPE_INVALID_TRANSFER_ENCODING:
		return because("Transfer-Encoding can't be present with Content-Length") ||
		       because("Invalid `Transfer-Encoding` header value") || /* a list we do not read but its end; marked as odd */
		       because("Empty Transfer-Encoding"); /* an unknown coding: we give up, or read to the close */
	case HPE_UNEXPECTED_CONTENT_LENGTH: /* RFC 9112, 6.3: the same length again may be let pass */
		return because("Duplicate Content-Length") || because("Content-Length already present");
	default:
		return 0;
	}
}

static void disagree(const char *what, enum llhttp_errno error, int event)
{
	fprintf(stderr, "%s: ours %u, llhttp %u (%s: %s), last event %d\n", what, ours.count, theirs.count,
		llhttp_errno_name(error), llhttp_get_error_reason(&llhttp) ?: "", event);
	for (__u32 i = 0; i < MOST && (i < ours.count || i < theirs.count); i++)
		fprintf(stderr, "  %u %.64s %llu | %u %.64s %llu\n", ours.seen[i].kind, ours.seen[i].path,
			ours.seen[i].bytes, theirs.seen[i].kind, theirs.seen[i].path, theirs.seen[i].bytes);
	abort();
}

/* We gave up, and llhttp saw more. */
static int excused_them(int event)
{
	const struct half *h = is_request ? &stream.request : &stream.response;

	if (event != BAD)
		return 0;
	if (because("Request has invalid `Transfer-Encoding`") && theirs.count == ours.count + 1)
		return 1; /* llhttp tells of the head before it refuses it */
	if (h->phase == FIELDS && h->chunked) /* RFC 9112, 6.1 and 6.3: chunked is not the last coding, or there twice */
		return 1;
	if (longest >= DIGITS || widest >= SPACES) /* of a number: so many digits, be they zeros, or so many spaces */
		return 1;
	if (odd_coding) /* several codings: llhttp does not find chunked behind a word that starts like it */
		return 1;
	if (loose) /* RFC 9112, 2.2: LF alone ends a line, and so two of them the head; llhttp goes on with fields */
		return 1;
	if (bare) /* RFC 9112, 2.2: CR without LF before a message; llhttp passes over it */
		return 1;
	if (is_request && spaced) /* RFC 9112, 3: one space stands between method, target and version */
		return 1;
	return other_version == ours.count + 1; /* llhttp reads the first lines of HTTP/0.9 and 2.0, too */
}

static void compare(enum llhttp_errno error, int event)
{
	__u32 both = ours.count < theirs.count ? ours.count : theirs.count;

	if (tabbed)
		return;
	for (__u32 i = 0; i < both; i++)
		if (memcmp(&ours.seen[i], &theirs.seen[i], sizeof(struct seen)))
			disagree("a message differs", error, event);
	if (ours.count > both && !excused_us(error))
		disagree("we saw more", error, event);
	if (theirs.count > both && !excused_them(event))
		disagree("llhttp saw more", error, event);
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	int mode, event = USED_UP;
	enum llhttp_errno error = HPE_OK;
	struct half *h;
	__u32 seed, cut;

	if (size < 2)
		return 0;
	mode = data[0];
	seed = data[1];
	data += 2;
	size -= 2;
	spaced = memmem(data, size, "  ", 2) != 0;
	bare = tabbed = loose = padded = odd_coding = 0;
	alone = 0;
	for (size_t i = 0; i < size; i++)
		alone |= data[i] == '\n' && (!i || data[i - 1] != '\r');
	longest = widest = 0;
	for (size_t i = 0, run = 0, blank = 0; i < size; i++) {
		blank = data[i] == ' ' || data[i] == '\t' ? blank + 1 : 0;
		widest = (int)blank > widest ? (int)blank : widest;
		run = isxdigit(data[i]) ? run + 1 : 0;
		longest = (int)run > longest ? (int)run : longest;
	}
	for (size_t i = 0; i + 2 <= size; i++)
		padded |= isxdigit(data[i]) && (data[i + 1] == ' ' || data[i + 1] == '\t');
	preface = memmem(data, size, "PRI ", 4) != 0;
	for (size_t i = 0; i + 9 <= size; i++)
		loose |= !memcmp(data + i, "HTTP/1.", 7) && data[i + 8] == '\n';
	for (size_t i = 0; i + 8 <= size; i++)
		tabbed |= !strncasecmp((const char *)data + i, "chunked\t", 8);
	for (size_t i = 0; i < size; i++)
		bare |= data[i] == '\r' && (i + 1 == size || data[i + 1] != '\n');
	is_request = !(mode & ANSWERS);
	to_head = mode & TO_HEAD;
	memset(&stream, 0, sizeof(stream));
	ours.count = theirs.count = 0;
	in_message = other_version = 0;
	start_llhttp();
	h = is_request ? &stream.request : &stream.response;
	for (__u32 i = 0; i < DEPTH; i++)
		stream.waiting[i].method = to_head ? HEAD_METHOD : GET;
	for (; size && ours.count < MOST; data += cut, size -= cut) {
		seed = seed * 1103515245 + 12345;
		cut = 1 + (seed >> 16) % ((seed & 0x100) ? SEGMENT_BYTES : 9);
		if (cut > size)
			cut = size;
		stream.pushed = stream.popped + (is_request ? 0 : DEPTH - 1);
		if (event == USED_UP && h->phase != TUNNEL)
			event = read_segment(h, data, cut);
		odd_coding |= h->odd;
		if (error == HPE_OK)
			error = feed_llhttp(data, cut);
	}
	if (!is_request && h->phase == TO_CLOSE && event == USED_UP)
		record(&stream);
	if (!is_request && error == HPE_OK)
		llhttp_finish(&llhttp);
	compare(error, event);
	return 0;
}

#ifndef FUZZER
int main(int argc, char **argv)
{
	static __u8 data[1 << 20];

	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		size_t size;

		if (!file) {
			perror(argv[i]);
			return 1;
		}
		size = fread(data, 1, sizeof(data), file);
		fclose(file);
		LLVMFuzzerTestOneInput(data, size);
	}
	printf("%d\n", argc - 1);
	return 0;
}
#endif

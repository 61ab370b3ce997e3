/*
 * A worker that is an SQLite database under load: journalled writes, a memory-mapped index of the journal,
 * checkpoints.
 */
#define _GNU_SOURCE
#include "guest.h"

#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#define ROWS 400 /* the database stops growing here */
#define BODY 1500

static int complain(struct worker *w, sqlite3 *db)
{
	int status = fail("database %s: %s", w->path, db ? sqlite3_errmsg(db) : "no memory");

	sqlite3_close(db);
	return status;
}

/* SQLite's own cache is kept small, so that reads come from the guest's page cache. */
static sqlite3 *open_database(struct worker *w)
{
	sqlite3 *db = NULL;

	if (sqlite3_open(w->path, &db) ||
	    sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA cache_size=8;", NULL, NULL, NULL)) {
		complain(w, db);
		return NULL;
	}
	return db;
}

static int prepare_database(struct worker *w)
{
	sqlite3 *db = open_database(w);

	if (!db)
		return -1;
	if (sqlite3_exec(db,
			 "CREATE TABLE IF NOT EXISTS "
			 "rows(id INTEGER PRIMARY KEY, generation INTEGER, body BLOB)",
			 NULL, NULL, NULL))
		return complain(w, db);
	sqlite3_close(db);
	return 0;
}

static const unsigned char *body_of(sqlite3_int64 id, uint32_t generation)
{
	static unsigned char page[PAGE];

	fill_page(page, ((uint64_t)id << 32) + generation + 7);
	return page;
}

static int put_row(sqlite3 *db, uint32_t id, uint32_t generation)
{
	sqlite3_stmt *put = NULL;
	int bad = sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO rows VALUES(?, ?, ?)", -1, &put, NULL);

	if (!bad) {
		sqlite3_bind_int64(put, 1, id);
		sqlite3_bind_int64(put, 2, generation);
		sqlite3_bind_blob(put, 3, body_of(id, generation), BODY, SQLITE_STATIC);
		bad = sqlite3_step(put) != SQLITE_DONE;
	}
	sqlite3_finalize(put);
	return bad;
}

/* Every row a query yields must be what this worker last put there; counts them. */
static int check_rows(struct worker *w, sqlite3 *db, const char *query, uint64_t *rows)
{
	sqlite3_stmt *get = NULL;
	int step = SQLITE_ERROR, differs = 0;

	*rows = 0;
	if (!sqlite3_prepare_v2(db, query, -1, &get, NULL))
		while (!differs && (step = sqlite3_step(get)) == SQLITE_ROW) {
			sqlite3_int64 id = sqlite3_column_int64(get, 0), generation = sqlite3_column_int64(get, 1);
			const void *body = sqlite3_column_blob(get, 2);
			differs = id < 0 || id >= ROWS || generation != w->generation[id] ||
				  sqlite3_column_bytes(get, 2) != BODY ||
				  memcmp(body, body_of(id, (uint32_t)generation), BODY);
			if (differs)
				fail("database %s: row %lld differs", w->path, (long long)id);
			++*rows;
		}
	sqlite3_finalize(get);
	return differs ? -1 : step != SQLITE_DONE;
}

static int transact(struct worker *w, sqlite3 *db)
{
	uint32_t ids[4];
	int bad = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

	for (size_t i = 0; i < 4 && !bad; i++) {
		/* Different ones, for 37 and ROWS have no common factor. */
		ids[i] = (uint32_t)((w->rounds * 4 + i) * 37 % ROWS);
		bad = put_row(db, ids[i], w->generation[ids[i]] + 1);
	}
	bad = bad || sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	for (size_t i = 0; i < 4 && !bad; i++)
		w->generation[ids[i]]++;
	return bad;
}

static int database_round(struct worker *w)
{
	char query[96];
	uint64_t rows;
	sqlite3 *db = open_database(w);

	if (!db)
		return -1;
	int status = transact(w, db);
	if (!status) {
		snprintf(query, sizeof query, "SELECT * FROM rows WHERE id %% 16 = %u", (unsigned)(w->rounds % 16));
		status = check_rows(w, db, query, &rows);
	}
	if (status > 0)
		return complain(w, db);
	sqlite3_close(db);
	return status;
}

static uint64_t rows_put(const struct worker *w)
{
	uint64_t rows = 0;

	for (size_t i = 0; i < ROWS; i++)
		rows += w->generation[i] != 0;
	return rows;
}

static int is_ok(void *ok, int columns, char **values, char **names)
{
	(void)names;
	*(int *)ok = columns == 1 && values[0] && !strcmp(values[0], "ok");
	return 0;
}

static int verify_database(struct worker *w)
{
	uint64_t rows;
	int ok = 0;
	sqlite3 *db = open_database(w);

	if (!db)
		return -1;
	if (sqlite3_exec(db, "PRAGMA integrity_check", is_ok, &ok, NULL))
		return complain(w, db);
	int status = check_rows(w, db, "SELECT * FROM rows", &rows);
	if (status > 0)
		return complain(w, db);
	sqlite3_close(db);
	if (status)
		return -1;
	if (!ok || rows != rows_put(w))
		return fail("database %s: %s, %llu rows", w->path, ok ? "sound" : "not sound", (unsigned long long)rows);
	return 0;
}

const struct work database = { "database", prepare_database, database_round, verify_database };

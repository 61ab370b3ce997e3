/**
 * What losing clean page cache costs a guest: it reads each lost folio again by a request of its own, without readahead. The most is
 * one request a page; large folios need fewer. How it compares with a cold read is in docs/guest-matrix.md where it was measured.
 */
const PAGE_BYTES = 4096;

/** An upper bound: a guest reads again only what it uses again. */
export interface RereadCost {
  requests: number;
  bytes: number;
}

/** @param lostPages clean-cache pages whose contents do not come back */
export function rereadCost(lostPages: number): RereadCost {
  return { requests: lostPages, bytes: lostPages * PAGE_BYTES };
}

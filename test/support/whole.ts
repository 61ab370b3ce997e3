// SPDX-License-Identifier: Apache-2.0
/**
 * Whether all of the integration tests run. The gate has time for those that stand for the others;
 * PARS_WHOLE=1 (scripts/slow-tests whole, scripts/libvirts) runs the rest as well.
 */
export const WHOLE = process.env['PARS_WHOLE'] === '1';

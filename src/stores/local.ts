import { ParsError } from '../errors.js';
import type { Store, StoreOptions } from './store.js';

export class LocalStore {
  static fromPath(path: string, _options: StoreOptions): Store {
    throw new ParsError('internal', `local:${path} is not built yet`);
  }
}

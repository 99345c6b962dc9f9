/** The oldest browsers that the elements are for, which docs/tags.md names: of summer 2024, and Firefox's ESR of then. */
export const OLDEST = { chrome: "123", chrome_android: "123", firefox: "128", safari: "17.5", safari_ios: "17.5" };

/** Who may have said something: the word of the wire. */
export const Source = { SERVER: "server", USER: "user", GUEST: "guest" };

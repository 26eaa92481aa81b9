/** What a person is told when something cannot be done: the message is a sentence for the page. */
export class Sentence extends Error {}

/** How many random programs the contract runs on a backend: `PROGRAMS` sets the number, for `npm run test:programs`. */
export const programs = (usually: number): number => Number(process.env.PROGRAMS ?? usually)

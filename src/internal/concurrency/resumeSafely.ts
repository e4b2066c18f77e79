/**
 * Resumes a fiber from the work of another. It runs there and then, and its observers too: what they throw is the process's
 * to hear of, as where they throw by themselves, and does not end the work of those who answer others.
 */
export const resumeSafely = (resume: () => void): void => {
  try {
    resume()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
